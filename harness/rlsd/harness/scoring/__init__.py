"""From trajectories to log-probs: sequences, forward passes, the prefix cache."""
