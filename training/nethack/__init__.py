"""NetHack: environment, vectorised stepping, screens, demonstrations and the built-in expert."""
