"""Generated products and goals."""
