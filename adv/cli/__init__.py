"""The verbs of `python -m adv`, one file each; what they do is imported when they run."""
