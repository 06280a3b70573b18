"""What happened: trials, the ledger that records them, constraints, Pareto arithmetic."""
