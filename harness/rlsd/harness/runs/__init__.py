"""The run directory: checkpoints, metrics, weights, progress."""
