"""The outcome of a run: its one front, the recommended nets, what they are marked with."""
