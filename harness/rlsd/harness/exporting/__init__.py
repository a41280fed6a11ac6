"""Environments of rlsd for other projects' trainers."""
