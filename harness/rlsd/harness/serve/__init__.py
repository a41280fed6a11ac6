"""Environments, search and policies over HTTP: the servers, and the guard in front of each."""
