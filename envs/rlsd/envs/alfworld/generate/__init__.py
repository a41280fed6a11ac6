"""Generated games: furniture, layout, difficulty."""
