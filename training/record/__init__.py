"""Recording games: NetHack in the layout of NLD-AA and from there to shards, Atari as shards at once."""
