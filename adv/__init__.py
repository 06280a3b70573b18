"""Robust image classifiers: train them, attack them, and say honestly what they are worth.

Names are loaded when first used, so that `import adv` costs nothing; `__init__.pyi` lists them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
