"""Many games stepped side by side: NetHack in worker processes, Atari in native threads, one interface for both."""
