"""Playing episodes: trajectories, environment calls, prefetching."""
