"""What `python -m adv bench` does: reads what was typed, measures, prints."""

from __future__ import annotations

import json
import re
from dataclasses import asdict

import rich_click as click
import torch

from adv.checkpoints.expressions import parse
from adv.cli.display import show_speeds
from adv.cli.flags import one_of
from adv.evaluation.attack_speed import ATTACKS, NETS, Workload, machine, speeds
from adv.models import Net
from adv.runtime.devices import default_device


def bench_all(
    nets: str,
    attacks: str,
    sizes: tuple[int, int],
    *,
    threads: int | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Measure and show how fast attacks are; `sizes` are the images and the steps.

    Raises:
      ValueError: an unknown net, attack or device.
    """
    chosen = {text: _typed_net(text) for text in _listed(nets)}
    kinds = [one_of("--attacks", kind, ATTACKS) for kind in _listed(attacks)]
    if not (chosen and kinds):
        raise ValueError("name a net and an attack at least")
    work = Workload(*sizes, _named_device(device))
    if threads is not None:
        torch.set_num_threads(threads)
    head = {**machine(work.device), "batch": work.batch, "steps": work.steps}
    found = speeds(chosen, kinds, work)
    if as_json:
        click.echo(json.dumps({**head, "speeds": [asdict(speed) for speed in found]}, indent=1))
    else:
        show_speeds(head, found, len(chosen) * len(kinds))


def _listed(text: str) -> list[str]:
    """What commas part, but for those between brackets."""
    parts = (part.strip() for part in re.split(r",(?![^(]*\))", text))
    return list(dict.fromkeys(part for part in parts if part))


def _typed_net(text: str) -> Net:
    if "(" not in text:
        return NETS[one_of("--nets", text, NETS)]
    net = parse(text)
    if not isinstance(net, Net):
        raise ValueError(f"--nets are nets such as BigNet(2), not {text}")
    return net


def _named_device(name: str | None) -> torch.device:
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
