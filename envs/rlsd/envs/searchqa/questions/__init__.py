"""Question sets: reading, generated and published ones."""
