"""Honest evaluation: batteries of attacks, the engine that runs them, scores, certificates."""
