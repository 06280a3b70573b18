"""Models of what a configuration is worth and of what it costs, learned from the ledger.

The Gaussian process learns from final values and from those at the rungs. Stopped and running
trials teach it too, each at the rung that it has reached, so early stopping does not throw away
what it paid for, and no partial value is ever taken for a final one.
"""
