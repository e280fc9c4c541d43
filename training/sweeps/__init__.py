"""Many runs, each once: the sweep, its jobs on this machine or a Ray cluster, and the memory they need."""
