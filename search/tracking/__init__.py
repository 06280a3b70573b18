"""The ledger in trackers of others: Weights & Biases."""
