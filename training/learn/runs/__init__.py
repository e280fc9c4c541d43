"""What a run writes and shows: its folder, rows of the run table, what made them, and its progress."""
