"""Playing episodes: trajectories, environment calls, several batches in flight."""
