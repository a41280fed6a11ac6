"""Full-text search with the ranking of Lucene's BM25, in NumPy: no Java, memory-mapped, shared by all environments."""

from rlsd.envs.bm25.analyzer import ANALYZERS, lucene_english
from rlsd.envs.bm25.index import Bm25Index, Hit

__all__ = ["ANALYZERS", "Bm25Index", "Hit", "lucene_english"]
