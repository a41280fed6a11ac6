"""BabyAI in words: missions in a grid of rooms, played in the engine of the package `minigrid`."""
