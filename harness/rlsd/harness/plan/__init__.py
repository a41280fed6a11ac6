"""Memory and speed of a config before it runs (`rlsd plan`): its own passes on tensors without values."""
