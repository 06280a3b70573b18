"""Ray and Optuna live here, and nowhere else: the ledger is the truth, all else is a view of it."""
