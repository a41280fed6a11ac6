"""Scripted players: the oracle and the explorer."""
