"""Adversarial training: the recipe, its objective, curriculum and optimizer, and the loop."""
