"""Defences as transforms of any net."""

from adv.defences.defence import Defence as Defence
from adv.defences.input_noise import TestNoise as TestNoise
from adv.defences.lipschitz import layer_norms as layer_norms
from adv.defences.lipschitz import lipschitz_bound as lipschitz_bound
from adv.defences.mc_dropout import MCDropout as MCDropout
from adv.defences.pni import PNI as PNI
from adv.defences.projection import Projection as Projection
from adv.defences.rse import RSE as RSE
from adv.defences.spectral_norm import SpectralNorm as SpectralNorm
