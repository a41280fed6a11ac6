"""Ways to the goal of each kind of task, found step by step in a copy of the world."""
