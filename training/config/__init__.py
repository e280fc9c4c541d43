"""What a training run is: an immutable config, checked on construction, read from and written to TOML."""
