"""Run a `launch.py` whose process has imported another copy, with the hooks of the fault lab."""

import runpy
import sys
from pathlib import Path

from fault_kinds.exact_resume import HOOKS

import spaces

sys.argv = sys.argv[1:]
spaces.__path__.append(str(Path(sys.argv[0]).parent / "spaces"))  # with what that copy adds
runpy.run_path(str(HOOKS / "sitecustomize.py"))
runpy.run_path(sys.argv[0], run_name="__main__")
