"""The game engine: world, commands, text, PDDL files."""
