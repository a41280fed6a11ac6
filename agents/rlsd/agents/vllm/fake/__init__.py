"""A fake vLLM server: the same routes over a transformers model."""
