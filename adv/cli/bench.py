"""`python -m adv bench`: measure the speed of attacks on this machine."""

from __future__ import annotations

import rich_click as click

from adv.cli.target_args import count


@click.command()
@click.option(
    "--nets",
    default="basenet,bignet,resnet18,wrn-16-4",
    show_default=True,
    metavar="NAME,...",
    help="Names, or nets in Python: 'BigNet(2),WRN(10, 1)'.",
)
@click.option(
    "--attacks",
    default="pgd,apgd",
    show_default=True,
    metavar="NAME,...",
    help="Any of pgd, pgd-l2, apgd, square, nes.",
)
@count("--batch", default=128, show_default=True, help="Images in a batch.")
@count("--steps", default=5, show_default=True, help="Steps of each attack.")
@count("--threads", help="CPU threads. Default: torch's choice.")
@click.option("--device", metavar="cpu|cuda", help="Default: cuda if there is a GPU.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON with the seconds of every repetition."
)
def bench(
    nets: str,
    attacks: str,
    batch: int,
    steps: int,
    threads: int | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Measure attacks on untrained nets: steps per second, efficiency, peak memory.

    The efficiency is the time of a bare forward pass and its gradient with respect to the images
    (for attacks without gradients: of the forward pass), computed in the fastest way known here,
    divided by the time of a step. At 100 % the attack costs nothing beside its net. A step of
    square is one query, a step of nes 20. Peak memory is that of the GPU, or on a CPU of the whole
    process. Measurements of the two alternate; each figure is the median of three.

    \b
    python -m adv bench
    python -m adv bench --nets bignet --attacks pgd,square --batch 64 --threads 1
    python -m adv bench --nets "BigNet(4)" --device cuda --json
    """
    from adv.cli.bench_run import bench_all

    bench_all(nets, attacks, (batch, steps), threads=threads, device=device, as_json=as_json)
