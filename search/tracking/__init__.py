"""Copies of the ledger in experiment trackers: Weights & Biases."""
