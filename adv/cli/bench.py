"""`python -m adv bench`: how fast attacks run on this machine."""

from __future__ import annotations

import rich_click as click

from adv.cli.source import COUNT


@click.command()
@click.option(
    "--nets",
    default="basenet,bignet,resnet18,wrn-16-4",
    show_default=True,
    metavar="NAME,...",
    help="Or nets as one writes them in Python: 'BigNet(2),WRN(10, 1)'.",
)
@click.option(
    "--attacks",
    default="pgd,apgd",
    show_default=True,
    metavar="NAME,...",
    help="Of pgd, pgd-l2, apgd, square, nes.",
)
@click.option("--batch", type=COUNT, default=128, show_default=True, help="Images.")
@click.option("--steps", type=COUNT, default=5, show_default=True, help="Of each attack.")
@click.option("--threads", type=COUNT, help="Of the processor. Default: torch's choice.")
@click.option("--device", metavar="cpu|cuda", help="Default: cuda where there is one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the seconds of each run.")
def bench(
    nets: str,
    attacks: str,
    batch: int,
    steps: int,
    threads: int | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Measure attacks on untrained nets: steps a second, share of the limit, peak memory.

    \b
    python -m adv bench
    python -m adv bench --nets bignet --attacks pgd,square --batch 64 --threads 1
    python -m adv bench --nets "BigNet(4)" --device cuda --json

    A step's limit is a bare forward pass and its gradient with respect to the images, in the
    quickest way known here; of an attack without gradients, the forward pass. 100 % of it means
    that an attack costs nothing beside its net. A step of square is a query, one of nes 20 of them.
    Peak memory is the GPU's, or the whole process's on a CPU. Rounds alternate between the limit
    and the attack; figures are medians of three.
    """
    from adv.cli.bench_run import bench_all

    bench_all(nets, attacks, (batch, steps), threads=threads, device=device, as_json=as_json)
