"""Ways to run a search: in this process, or on a Ray cluster."""
