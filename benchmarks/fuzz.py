"""Feed the readers of all our files with damaged ones, guided by which lines of code they reach.

    python -m pip install atheris
    python benchmarks/fuzz.py --seconds 600

Each target (`benchmarks/fuzz_targets.py`) runs in a process of its own, for so many seconds. A
finding is an exception that is no ValueError of one line, a use of more than 2 GB, or an input that
takes more than a minute. Its input is printed in hex; `--input HEX` reads it again.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fuzz_targets import TARGETS, run_target

LIMITS = ("-rss_limit_mb=2048", "-timeout=60", "-report_slow_units=60", "-max_len=256")
QUIET = ("-len_control=0", "-verbosity=0", "-print_final_stats=1")


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return 1 if something was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", action="append", choices=TARGETS, help="default: all")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: 60)")
    parser.add_argument("--input", metavar="HEX", help="read one input again, for one --target")
    parser.add_argument("--worker", metavar="FOLDER", help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    targets = given.target or list(TARGETS)
    if given.input is not None:
        run_target(targets[0], bytes.fromhex(given.input))
        print(f"{targets[0]}: nothing found")
        return 0
    if given.worker:
        return fuzz(targets[0], given.seconds, Path(given.worker))
    return max([fuzz_apart(target, given.seconds) for target in targets])


def fuzz_apart(target: str, seconds: int) -> int:
    """Fuzz a target in a process of its own, and print a line; return 1 if something was found."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        words = (sys.executable, __file__, "--target", target, "--seconds", str(seconds))
        done = subprocess.run(
            [*words, "--worker", folder], capture_output=True, text=True, check=False
        )
        findings = sorted(Path(folder).glob("*-*"))
        runs = re.findall(r"Done (\d+) runs|stat::number_of_executed_units: +(\d+)", done.stderr)
        count = next((a or b for a, b in runs), "?")
        found = f"{len(findings)} findings" if findings else "nothing found"
        print(f"{target}: {count} inputs in {time.monotonic() - began:.0f} s, {found}", flush=True)
        for path in findings:
            print(
                f"  {path.name.split('-')[0]}: --target {target} --input {path.read_bytes().hex()}"
            )
    if done.returncode:
        print("\n".join(f"  {line}" for line in done.stderr.splitlines()[-25:]))
    return int(bool(findings or done.returncode))


def fuzz(target: str, seconds: int, folder: Path) -> int:
    """Fuzz a target in this process, which atheris ends."""
    import atheris

    with atheris.instrument_imports(include=["search", "spaces", "adv.checkpoints", "adv.data"]):
        for data in (b"", b"\x00\x00\x00\x05", bytes(range(40))):  # imports what the target needs
            with suppress(Exception):
                run_target(target, data)

    def feed(data: bytes) -> None:
        try:
            run_target(target, data)
        except Exception:
            traceback.print_exc()
            raise

    words = (f"-max_total_time={seconds}", f"-artifact_prefix={folder}/")
    atheris.Setup([sys.argv[0], *LIMITS, *QUIET, *words], feed)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
