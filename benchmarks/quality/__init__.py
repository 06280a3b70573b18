"""The parts of `benchmarks/search_quality.py`: problems, other libraries, tables."""
