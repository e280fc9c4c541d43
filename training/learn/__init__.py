"""The loops, cloning and reinforcement learning, and what they keep and write down."""
