"""Evaluation: playing a whole panel, comparing, diagnosing."""
