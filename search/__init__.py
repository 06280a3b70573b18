"""Hyperparameter search with Ray and Optuna, on top of `adv` and `spaces`.

The ledger of a run (`search.record`) holds all that happened; the front, the report and the W&B
runs are computed from it.
"""
