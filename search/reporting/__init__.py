"""Show the ledger: terminal, HTML report, plots, CSV tables."""
