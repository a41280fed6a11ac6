"""In-process transformers policies: loading, sampling, the key-value cache."""
