"""A stand-in for a vLLM server: the same routes over a transformers model."""
