"""A Gaussian process over everything a ledger knows: final values, and those at the rungs.

Stopped and running trials teach it too, each at the rung that it has reached, so early stopping
does not throw away what it paid for, and no partial value is ever taken for a final one.
"""

from __future__ import annotations

from search.samplers.gp.acquisition import Kriging as Kriging
