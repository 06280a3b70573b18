"""Models of a configuration's objectives and of its cost, fitted to the ledger.

The Gaussian process is multi-fidelity: it is fitted to final values and to values at rungs. Stopped
and running trials count at the rungs that they have reached, so early stopping wastes none of the
training that it paid for, and no partial value is ever taken for a final one.
"""
