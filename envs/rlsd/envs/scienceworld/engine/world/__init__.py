"""What happens in the house: things, their materials, heat, electricity, life."""
