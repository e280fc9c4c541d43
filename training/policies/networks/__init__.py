"""The networks of policies: encoders of a screen, cores over time, the critic, and lookups in small tables."""
