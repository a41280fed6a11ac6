"""Warm starts of any environment: a recipe from a look at its expert, trained until the model reads hindsight."""
