"""The verbs of `python -m adv`: `VERB.py` holds the flags, `VERB_run.py` does the work.

What is expensive to import is imported when a verb runs.
"""
