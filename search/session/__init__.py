"""One start of `launch.py`: plan, prepare or resume, run, summarise."""
