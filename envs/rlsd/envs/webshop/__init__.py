"""WebShop: a shop in text, with the original's pages, ranking and reward, for its catalogue and for generated ones."""
