"""Many runs, each once: the sweep, and its jobs on this machine or a Ray cluster."""
