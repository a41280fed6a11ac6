"""Evaluation: playing a panel (a fixed evaluation set), comparing, diagnosing."""
