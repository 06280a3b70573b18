"""Samplers propose the next configuration from a view of the ledger."""
