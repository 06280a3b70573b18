"""Search recorded trials again at simulated time, to compare samplers and stoppers."""
