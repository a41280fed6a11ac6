"""Environments elsewhere: in worker processes, or behind HTTP. They look like any other `TextEnv`."""
