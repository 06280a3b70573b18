"""Which configuration to try next: proposals over a view of the ledger."""
