"""ScienceWorld: elementary science in a simulated house, as text (Wang et al. 2022, arXiv 2203.07540)."""
