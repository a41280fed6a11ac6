"""Reports of runs: one HTML page, and charts."""
