"""Policies of transformers in this process: loading, sampling, the key-value cache."""
