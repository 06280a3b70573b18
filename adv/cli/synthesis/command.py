"""`python -m adv synthesize`: train image generators, sample sets of images, and score them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from adv.cli.target_args import COUNT, DATA

if TYPE_CHECKING:
    from adv.cli.synthesis.labeller import Labeller

_FILE = click.Path(path_type=Path)
_SEED = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)


@click.group(no_args_is_help=True)
def synthesize() -> None:
    """Train an image generator, sample sets of images from it, and score them.

    \b
    python -m adv synthesize train --data digits --out gan.safetensors
    python -m adv synthesize sample gan.safetensors --ddls --count 5000 \\
        --out made.npz
    python -m adv synthesize sample --source gaussian --data digits \\
        --count 5000 --out g.npz
    python -m adv synthesize score made.npz --data digits --grid made.png
    python -m adv train --out net.safetensors \\
        --recipe "Recipe(generated=Generated('made.npz', 0.5))"
    """


@synthesize.command()
@click.option("--data", default="digits", show_default=True, metavar="NAME", help=DATA)
@click.option("--out", type=_FILE, required=True, help="The file to write, NAME.safetensors.")
@click.option(
    "--scale",
    type=click.Choice(["laptop", "full"]),
    default="laptop",
    show_default=True,
    help="laptop: a minute on digits. full: BigGAN's settings for CIFAR-10, hours on a GPU.",
)
@click.option(
    "--recipe", metavar="EXPRESSION", help='The recipe, instead of --scale: "GAN(width=32, ...)".'
)
@click.option(
    "--width", type=COUNT, help="A quarter of the channels of a block. full: 64, laptop: 8."
)
@click.option("--latent", type=COUNT, help="Dimension of z. full: 128, laptop: 32.")
@click.option("--steps", type=COUNT, help="Updates of the generator. full: 100,000, laptop: 1,000.")
@click.option("--batch", type=COUNT, help="Images per update. full: 50, laptop: 32.")
@click.option(
    "--d-steps",
    type=COUNT,
    help="Discriminator updates per generator update. full: 4, laptop: 2.",
)
@click.option(
    "--images", type=COUNT, help="Number of real images to train on. Default: all training images."
)
@click.option(
    "--every",
    type=COUNT,
    default=100,
    show_default=True,
    help="Steps between saved states and printed lines.",
)
@_SEED
def train(
    data: str,
    out: Path,
    scale: str,
    recipe: str | None,
    images: int | None,
    every: int,
    seed: int,
    **sizes: int | None,
) -> None:
    """Train a conditional GAN on the training images of a data set.

    To resume a training that was killed, give the same command again (its state lies beside
    --out). A tenth of the images is held out to calibrate the discriminator, which DDLS needs.

    Besides the five sizes below, --recipe accepts lr, d_lr, ema and ema_start (weight averaging),
    flip, translate and cutout (augmentation in front of the discriminator) and init ("normal" or
    "orthogonal"); defaults are those of the full scale. The five flags override the recipe.

    \b
    python -m adv synthesize train --data digits --out gan.safetensors
    python -m adv synthesize train --data cifar10 --scale full \\
        --out gan.safetensors
    python -m adv synthesize train --data ~/images --steps 20000 --width 32 \\
        --out gan.safetensors
    """
    from dataclasses import replace

    from adv.checkpoints.expressions import parse
    from adv.cli.synthesis.run import train_generator
    from adv.data.datasets import load
    from adv.generative.gan import GAN

    if out.exists():
        raise ValueError(f"{out} exists: name another file")
    if out.suffix != ".safetensors":
        raise ValueError(f"{out}: the name of a generator must end in .safetensors")
    gan = GAN() if scale == "full" else GAN().small()
    if recipe is not None:
        gan = parse(recipe)
        if not isinstance(gan, GAN):
            raise ValueError(f"--recipe must be a GAN(...), not a {type(gan).__name__}")
    changes: dict[str, Any] = {key: value for key, value in sizes.items() if value is not None}
    train_generator(replace(gan, **changes), load(data), images, seed, out, every)


@synthesize.command()
@click.argument("generator", type=_FILE, required=False)
@click.option(
    "--out", type=_FILE, required=True, help="The file to write, NAME.npz; never overwritten."
)
@click.option("--count", type=COUNT, required=True, help="Number of images.")
@click.option(
    "--source",
    type=click.Choice(["gaussian", "mixup"]),
    help="A baseline fitted to --data, instead of a GENERATOR.",
)
@click.option("--data", metavar="NAME", help=f"The data that --source is fitted to. {DATA}")
@click.option(
    "--images", type=COUNT, help="Number of real images that --source is fitted to. Default: all."
)
@click.option("--rank", type=COUNT, help="gaussian: rank of the covariance. Default: full.")
@click.option(
    "--alpha",
    type=click.FloatRange(0, min_open=True),
    help="mixup: alpha of the Beta distribution. Default: 1.",
)
@click.option("--plain", is_flag=True, help="Use the last weights, not their moving average.")
@click.option(
    "--ddls", is_flag=True, help="Sample z by Langevin dynamics, guided by the discriminator."
)
@click.option("--ddls-steps", type=COUNT, help="Langevin steps. Default: 100.")
@click.option(
    "--step-size",
    type=click.FloatRange(0, min_open=True),
    help="Size of a Langevin step. Default: 0.1.",
)
@click.option("--ula", is_flag=True, help="Accept every Langevin step, without Metropolis.")
@click.option(
    "--relabel",
    type=_FILE,
    metavar="CHECKPOINT",
    help="Label the images by this net, not by the class that they were sampled for.",
)
@_SEED
def sample(generator: Path | None, source: str | None, **given: Any) -> None:
    """Sample a set of images into an .npz with its recipe and its hash.

    To resume a sampling that was killed, give the same command again (the images so far lie in
    OUT.state). Equal flags give equal images. The classes are as frequent as among the real images.
    A recipe trains on the set by Generated('made.npz', FRACTION); `score` scores it.

    \b
    python -m adv synthesize sample gan.safetensors --count 5000 --out ema.npz
    python -m adv synthesize sample gan.safetensors --ddls --count 5000 \\
        --out ddls.npz
    python -m adv synthesize sample gan.safetensors --count 5000 --out named.npz \\
        --relabel net.safetensors
    python -m adv synthesize sample --source gaussian --data digits \\
        --count 5000 --out g.npz
    """
    from adv.cli.synthesis.run import SetRequest, sample_baseline, sample_gan
    from adv.data.datasets import load

    if (generator is None) == (source is None):
        raise ValueError("name either a GENERATOR or a --source")
    _check_flags(given, source)
    relabel = _labeller(given["relabel"])
    request = SetRequest(given["count"], given["seed"], given["out"], relabel)
    if generator is not None:
        sample_gan(generator, not given["plain"], _ddls(given), request)
    else:
        baseline = _baseline(source, given)
        sample_baseline(baseline, load(given["data"]), given["images"], request)


@synthesize.command()
@click.argument("made", type=_FILE, metavar="SET")
@click.option("--data", required=True, metavar="NAME", help=f"The real images. {DATA}")
@click.option(
    "--net",
    type=_FILE,
    metavar="CHECKPOINT",
    help="The net whose features are compared. Default: a BigNet, trained once on real images.",
)
@click.option(
    "--images",
    type=COUNT,
    default=2000,
    show_default=True,
    help="At most this many generated and real images.",
)
@click.option(
    "--fid/--no-fid",
    default=True,
    show_default=True,
    help="Compute the standard FID of all images, if its weights are here: slow without a GPU.",
)
@click.option("--grid", type=_FILE, help="Write a picture, NAME.png, with one row per class.")
def score(made: Path, data: str, net: Path | None, **options: Any) -> None:
    """Score a set: Frechet distance, precision, recall, coverage, memorisation.

    The features are those of our own classifier, so the scores cannot be compared with published
    ones; a row of held-out real images shows what is attainable. The standard FID is computed too
    if torch-fidelity and its weights are installed.

    \b
    python -m adv synthesize score made.npz --data digits --grid made.png
    python -m adv synthesize score 1m.npz --data cifar10 --net net.safetensors
    """
    from adv.cli.synthesis.run import score_images
    from adv.data.datasets import load

    score_images(made, load(data), _labeller(net), **options)


def _labeller(path: Path | None) -> Labeller | None:
    """Load the classifier of a checkpoint; None if no path is given."""
    if path is None:
        return None
    from adv.cli.synthesis.labeller import Labeller
    from adv.cli.target import load_checkpoint
    from adv.generative.cache import cache_key
    from adv.runtime.devices import on_device

    found = load_checkpoint(path)
    return Labeller(
        str(path), on_device(found.net).eval(), found.classes, cache_key(path.read_bytes())
    )


def _check_flags(given: dict[str, Any], source: str | None) -> None:
    """Raise ValueError if a flag is given that has no meaning beside the others."""
    needs = {"ddls_steps": "--ddls", "step_size": "--ddls", "ula": "--ddls"}
    needs |= {"data": "--source", "images": "--source", "rank": "--source gaussian"}
    needs |= {"alpha": "--source mixup"}
    present = {"--source"} | {f"--source {source}"} if source else set()
    present |= {"--ddls"} if given["ddls"] else set()
    for name, needed in needs.items():
        if given[name] not in (None, False) and needed not in present:
            raise ValueError(f"--{name.replace('_', '-')} needs {needed}")
    if source and (given["ddls"] or given["plain"]):
        raise ValueError("--ddls and --plain need a GENERATOR")
    if source and given["data"] is None:
        raise ValueError("--source needs --data: digits, cifar10, cifar100 or a folder")


def _ddls(given: dict[str, Any]) -> Any:
    """Return the settings of DDLS, None without --ddls."""
    from adv.generative.ddls import DDLS

    if not given["ddls"]:
        return None
    sizes = {"steps": given["ddls_steps"], "step_size": given["step_size"]}
    settings = {name: value for name, value in sizes.items() if value is not None}
    return DDLS(**settings, metropolis=not given["ula"])


def _baseline(source: str | None, given: dict[str, Any]) -> Any:
    """Return the baseline that --source names."""
    from adv.generative.baselines import Gaussian, Mixup

    if source == "gaussian":
        return Gaussian(given["rank"])
    return Mixup(given["alpha"] or 1.0)
