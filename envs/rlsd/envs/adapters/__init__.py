"""Environments of other packages, each behind the contract of `TextEnv`; the packages are optional extras.

A module imports its package when an environment is opened, not before.
"""
