"""Comparing finished runs: `python launch.py --compare runs/A runs/B`."""
