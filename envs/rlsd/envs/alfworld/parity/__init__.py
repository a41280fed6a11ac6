"""The original engine as a backend, and game files written for it."""
