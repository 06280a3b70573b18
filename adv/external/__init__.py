"""Nets and weights of other projects, as values of a recipe."""

from adv.external.external import External as External
from adv.external.weights import Weights as Weights
