"""The original engine behind our class, and games written for it."""
