"""Measure how fast PGD steps: ours, torchattacks, foolbox, ART, and a bare lower limit.

    python benchmarks/attack_speed.py
    python benchmarks/attack_speed.py --nets BaseNet BigNet --batch 128 --repeats 9
    python benchmarks/attack_speed.py --nets ResNet-18 WRN-16-4 --steps 5 --repeats 3

All contenders take turns in one process; the table shows medians. The limit is a loop of as many
forward passes and input gradients, and nothing else, in the faster of the two memory formats. An
attack may be faster than it: on a CPU small nets run through fused layers
(`adv.runtime.fused_cpu`), for which the same loop is the second limit, and on CUDA a step is
captured as a CUDA graph and replayed, as in training (`adv.training.cuda_graphs`), while the limit
launches its kernels one by one. The other libraries get nets and images in contiguous memory, as in
their documentation. A call includes the random start, which weighs more when --steps is small.
--write puts the table into a file such as docs/performance.md and replaces the table that the same
command wrote before. The other libraries: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import copy
import sys
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F
from markdown_report import command, machine, table, write_section
from peer_attacks import PEERS, import_peer, pgd_of_peers
from timing import Call, alternate, half_range, median
from torch import Tensor, nn

from adv import PGD, WRN, BaseNet, BigNet, Linf, ResNet18, frozen
from adv.runtime.fused_cpu import fused_conv_pool
from adv.runtime.random_streams import RngStream, attach
from adv.training.cuda_graphs import GraphCache, replay_attack

NETS = {"BaseNet": BaseNet(), "BigNet": BigNet(), "ResNet-18": ResNet18(), "WRN-16-4": WRN(16, 4)}
EPS, SIZE = 8 / 255, 2 / 255
LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


QUICK = "limit, our layers"


def run_bare_loop(net: nn.Module, x: Tensor, y: Tensor, steps: int, *, quick: bool = False) -> None:
    """Run the lower limit: forward passes and input gradients, nothing else."""
    with frozen(net), fused_conv_pool(net) if quick else nullcontext():
        for _ in range(steps):
            leaf = x.detach().requires_grad_()
            loss = F.cross_entropy(net(leaf), y, reduction="sum")
            torch.autograd.grad(loss, leaf)


def capture_attack(net: nn.Module, attack: PGD, x: Tensor, y: Tensor) -> Call:
    """Return the attack as training on CUDA runs it: one step, captured at the first call."""
    stream = RngStream()
    attach(net, stream)
    graphs, starts = GraphCache(net, stream, x.device), torch.Generator().manual_seed(0)
    return lambda: replay_attack(graphs, attack, x, y, starts)


def contenders(name: str, x: Tensor, y: Tensor, steps: int, peers: list[str]) -> dict[str, Call]:
    """Return the calls to time, each with its own net and images."""
    torch.manual_seed(0)
    net = NETS[name](10).eval().to(x.device)
    calls: dict[str, Call] = {}
    for layout, order in LAYOUTS.items():
        twin = copy.deepcopy(net).to(memory_format=order)
        images = x.contiguous(memory_format=order)
        calls[f"limit, {layout}"] = lambda twin=twin, images=images: run_bare_loop(
            twin, images, y, steps
        )
    with fused_conv_pool(net) as form:
        if form == torch.contiguous_format:
            twin = copy.deepcopy(net)
            calls[QUICK] = lambda: run_bare_loop(twin, x, y, steps, quick=True)
    ours, attack = (
        copy.deepcopy(net).to(memory_format=torch.channels_last),
        PGD(Linf(EPS), steps=steps, step_size=SIZE),
    )
    calls["ours"] = capture_attack(ours, attack, x, y) if x.is_cuda else lambda: attack(ours, x, y)
    for peer, theirs in pgd_of_peers(copy.deepcopy(net), EPS, SIZE, steps, peers).items():
        calls[peer] = lambda theirs=theirs: theirs(x, y)
    return calls


def table_row(name: str, batch: int, args: argparse.Namespace) -> list[str]:
    """Return a row of the table: milliseconds per step, and ratios."""
    x = torch.rand(batch, 3, 32, 32, generator=torch.Generator().manual_seed(0)).to(args.device)
    y = (torch.arange(batch) % 10).to(args.device)
    calls = contenders(name, x, y, args.steps, args.peers)
    found = alternate(calls, args.repeats, args.device)
    steps = {key: median(seconds) / args.steps for key, seconds in found.items()}
    limit = min((f"limit, {layout}" for layout in LAYOUTS), key=steps.__getitem__)
    ours = steps["ours"]
    cells = [name, str(batch), f"{1e3 * steps[limit]:.1f} ({limit.partition(', ')[2]})"]
    cells.append(f"{1e3 * steps[QUICK]:.1f}" if QUICK in steps else "-")
    cells.append(f"{1e3 * ours:.1f} {half_range(found['ours'])}")
    others = (limit, QUICK, *PEERS)
    cells += [f"{steps[other] / ours:.2f}" if other in steps else "-" for other in others]
    print(table(HEADS, [cells]).splitlines()[-1], flush=True)
    return cells


HEADS = (
    "net",
    "batch",
    "limit, ms a step",
    "with our layers",
    "ours, ms a step",
    "of the limit",
    "with our layers",
    *(f"times {'ART' if peer.startswith('adv') else peer}" for peer in PEERS),
)


def main(words: list[str] | None = None) -> None:
    words = sys.argv[1:] if words is None else words
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--batch", nargs="+", type=int, default=[128, 512])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--write", type=Path, help="Markdown file to write the table to")
    args = parser.parse_args(words)
    for peer in args.peers:
        import_peer(peer)  # before anything is timed
    rows = [table_row(name, batch, args) for name in args.nets for batch in args.batch]
    told = f"`{command(words)}`: PGD-{args.steps}, medians of {args.repeats}, ± half the range."
    text = f"{told} {machine(args.device, args.peers)}.\n\n{table(HEADS, rows)}"
    print(f"\n{text}")
    if args.write:
        write_section(
            args.write, f"attack_speed {args.device} {' '.join(args.nets)} {args.batch}", text
        )


if __name__ == "__main__":
    main()
