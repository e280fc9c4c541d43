"""NetHack as nle plays it: a game, worker processes that hold several, and the vector of all of them."""
