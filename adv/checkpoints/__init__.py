"""Nets on disk: our own checkpoints, recipes as expressions, and modules of other projects."""
