"""`python -m adv certify`: l2 radii in which the verdict of a smoothed net cannot change."""

from __future__ import annotations

import rich_click as click

from adv.cli.source import COUNT, Source, judged


@click.command()
@judged
@click.option(
    "--sigma",
    type=click.FloatRange(min=0, min_open=True),
    help="Deviation of the noise, in pixel units. Default: that of the net's own TestNoise.",
)
@click.option("--draws", type=COUNT, default=10_000, show_default=True, help="For each image.")
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.001,
    show_default=True,
    help="Probability that the radius of one image is too large.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def certify(source: Source, sigma: float | None, draws: int, alpha: float, seed: int) -> None:
    """Certify l2 radii by randomized smoothing.

    \b
    python -m adv train --out a.safetensors \\
        --recipe "Recipe(defences=(TestNoise(0.25, training=True),))"
    python -m adv certify a.safetensors --images 200 --draws 1000

    What is certified is the vote of the net in noise, not the net. One that was not trained in that
    noise has small radii or none. Each image takes --draws passes.
    """
    from adv.cli.display import show_certificates
    from adv.cli.target import meet
    from adv.defences.input_noise import noise_of
    from adv.evaluation.randomized_smoothing import certify as certified

    subject = meet(source)
    trained, tested = noise_of(subject.net)
    if (sigma := sigma or trained or tested) is None:
        raise ValueError("--sigma is missing: the net has no TestNoise of its own")
    found = certified(subject.net, subject.part, sigma, n=draws, alpha=alpha, seed=seed)
    show_certificates(found, subject, trained)
