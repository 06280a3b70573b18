"""Evaluation: batteries of attacks, the engine that runs them, scores, certified radii."""
