"""Recorded NetHack games: played by worker processes, kept in the layout of NLD-AA, turned into shards."""
