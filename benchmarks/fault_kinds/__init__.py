"""Faults that `benchmarks/faults.py` injects into searches, and what it takes to judge them."""
