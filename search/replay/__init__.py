"""Recorded trials searched again at simulated time, to compare searchers."""
