"""Defences as transforms of any net."""

from adv.defences.defence import Defence as Defence
from adv.defences.rse import RSE as RSE
