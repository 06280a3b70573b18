"""Nets on disk: checkpoints of ours, expressions for recipes, modules of other projects."""
