"""ALFWorld, native: the same worlds, texts and rules as the original engine, in plain Python."""
