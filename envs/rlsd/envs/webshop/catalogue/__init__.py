"""Products and goals: reading, storing, publishing."""
