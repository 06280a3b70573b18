"""Finalists: the front's candidates again, with fresh seeds and stronger attacks."""
