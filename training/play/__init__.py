"""Playing games with a policy: returns over a fixed list of games."""
