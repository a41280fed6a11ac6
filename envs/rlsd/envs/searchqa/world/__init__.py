"""A fictional encyclopedia, drawn from a seed: entities, articles, and questions whose answers are certain."""
