"""The shop: pages, search, reward."""
