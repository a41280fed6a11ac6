"""The rules of ScienceWorld, written anew: the same texts, scores and random choices as the original's."""
