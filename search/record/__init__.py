"""The record of a search: trials, the ledger, its view, constraints and Pareto fronts."""
