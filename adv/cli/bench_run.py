"""Measure the speed of attacks and print it: `python -m adv bench`."""

from __future__ import annotations

import json
import re
from dataclasses import asdict

import torch

from adv.checkpoints.expressions import parse
from adv.cli.display import print_speeds
from adv.cli.flags import check_choice
from adv.evaluation.attack_speed import ATTACKS, NETS, Workload, machine, measure_speeds
from adv.models import Net
from adv.runtime.devices import default_device
from adv.terminal.console import print_line


def bench_all(
    nets: str,
    attacks: str,
    sizes: tuple[int, int],
    *,
    threads: int | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Measure the speed of every attack on every net and print it.

    Args:
      nets: names or expressions, separated by commas.
      attacks: names, separated by commas.
      sizes: (images in a batch, steps of each attack).
      threads: CPU threads; None: torch's choice.
      device: "cpu" or "cuda"; None: the best one.
      as_json: print JSON instead of a table.

    Raises:
      ValueError: an unknown net, attack or device.
    """
    chosen = {text: _parse_net(text) for text in _split(nets)}
    kinds = [check_choice("--attacks", kind, ATTACKS) for kind in _split(attacks)]
    if not (chosen and kinds):
        raise ValueError("name at least one net and one attack")
    work = Workload(*sizes, _parse_device(device))
    if threads is not None:
        torch.set_num_threads(threads)
    setup = {**machine(work.device), "batch": work.batch, "steps": work.steps}
    found = measure_speeds(chosen, kinds, work)
    if as_json:
        print_line(json.dumps({**setup, "speeds": [asdict(speed) for speed in found]}, indent=1))
    else:
        print_speeds(setup, found, len(chosen) * len(kinds))


def _split(text: str) -> list[str]:
    """Split at commas outside of brackets, and drop repetitions."""
    parts = (part.strip() for part in re.split(r",(?![^(]*\))", text))
    return list(dict.fromkeys(part for part in parts if part))


def _parse_net(text: str) -> Net:
    if "(" not in text:
        return NETS[check_choice("--nets", text, NETS)]
    net = parse(text)
    if not isinstance(net, Net):
        raise ValueError(f"--nets takes nets such as BigNet(2), not {text}")
    return net


def _parse_device(name: str | None) -> torch.device:
    if name is None:
        return default_device()
    kind, _, number = name.partition(":")
    count = torch.cuda.device_count()
    if kind == "cuda" and (number or "0").isdecimal() and int(number or 0) < count:
        return torch.device(name)
    if name != "cpu":
        has = ", ".join(["cpu", *(f"cuda:{i}" for i in range(count))])
        raise ValueError(f"--device {name!r}: this machine has {has}")
    return torch.device(name)
