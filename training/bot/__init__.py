"""The built-in NetHack player: it reads the screen, explores, fights and survives."""
