"""Reports of runs: one HTML page, charts."""
