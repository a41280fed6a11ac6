"""The weights: optimizer steps, teachers, parallelism."""
