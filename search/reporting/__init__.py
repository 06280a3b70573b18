"""What a reader of the ledger sees: terminal, HTML report, plots, CSV tables."""
