"""Native ALFWorld: the games, texts and rules of the original engine, in plain Python."""
