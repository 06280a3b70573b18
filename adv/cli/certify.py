"""`python -m adv certify`: certified l2 radii of a net smoothed with Gaussian noise."""

from __future__ import annotations

import rich_click as click

from adv.cli.target_args import TargetArgs, count, with_target


@click.command()
@with_target
@click.option(
    "--sigma",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SIGMA",
    help="Standard deviation of the noise, in pixel units. Default: the net's own TestNoise.",
)
@count("--draws", default=10_000, show_default=True, help="Noise samples per image.")
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="ALPHA",
    default=0.001,
    show_default=True,
    help="Probability that an image's radius is too large.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    metavar="N",
    default=0,
    show_default=True,
    help="Of the noise.",
)
def certify(target: TargetArgs, sigma: float | None, draws: int, alpha: float, seed: int) -> None:
    """Certify l2 radii by randomized smoothing.

    The certificate is for the smoothed net, the majority vote over noisy copies of an image, not
    for the net itself. A net that was not trained with this noise has small radii or none. Each
    image takes --draws forward passes.

    \b
    python -m adv train --out a.safetensors \\
        --recipe "Recipe(defences=(TestNoise(0.25, training=True),))"
    python -m adv certify a.safetensors --images 200 --draws 1000
    """
    from adv.cli.display import print_certificates
    from adv.cli.target import load_target
    from adv.defences.input_noise import input_noise_sigmas
    from adv.evaluation.randomized_smoothing import certify as certify_net

    loaded = load_target(target)
    trained, tested = input_noise_sigmas(loaded.net)
    if (sigma := sigma or trained or tested) is None:
        raise ValueError("--sigma is missing: the net has no TestNoise of its own")
    found = certify_net(loaded.net, loaded.split, sigma, n=draws, alpha=alpha, seed=seed)
    print_certificates(found, loaded, trained)
