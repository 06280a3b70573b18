"""The parts of `benchmarks/search_quality.py`: problems, peers, figures."""
