"""Retrievers: local indices, servers, corpora."""
