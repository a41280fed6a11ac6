"""The stages of one training iteration."""
