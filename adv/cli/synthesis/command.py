"""`python -m adv synthesize`: images that nobody took, and how good they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from adv.cli.target_args import COUNT, DATA

if TYPE_CHECKING:
    from adv.cli.synthesis.labeller import Judge

_FILE = click.Path(path_type=Path)
_SEED = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)


@click.group(no_args_is_help=True)
def synthesize() -> None:
    """Train a generator of images, draw sets from it, score them.

    \b
    python -m adv synthesize train --data digits --out gan.safetensors
    python -m adv synthesize sample gan.safetensors --ddls --count 5000 --out made.npz
    python -m adv synthesize sample --source gaussian --data digits --count 5000 --out g.npz
    python -m adv synthesize score made.npz --data digits --grid made.png
    python -m adv train --out net.safetensors \\
        --recipe "Recipe(generated=Generated('made.npz', 0.5))"
    """


@synthesize.command()
@click.option("--data", default="digits", show_default=True, metavar="NAME", help=DATA)
@click.option("--out", type=_FILE, required=True, help="The generator, NAME.safetensors.")
@click.option(
    "--scale",
    type=click.Choice(["laptop", "full"]),
    default="laptop",
    show_default=True,
    help="laptop: a minute for digits. full: BigGAN's setting for CIFAR-10, hours on a GPU.",
)
@click.option("--recipe", metavar="EXPRESSION", help='Instead of --scale: "GAN(width=32, ...)".')
@click.option(
    "--width", type=COUNT, help="Blocks have 4 times as many channels. Full 64, laptop 8."
)
@click.option("--latent", type=COUNT, help="Numbers in z. Full 128, laptop 32.")
@click.option("--steps", type=COUNT, help="Updates of the generator. Full 100,000, laptop 1,000.")
@click.option("--batch", type=COUNT, help="Images in an update. Full 50, laptop 32.")
@click.option(
    "--d-steps",
    type=COUNT,
    help="The discriminator's updates for each of these. Full 4, laptop 2.",
)
@click.option("--images", type=COUNT, help="How many real ones. Default: all for training.")
@click.option(
    "--every", type=COUNT, default=100, show_default=True, help="Steps between saved states."
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

    \b
    python -m adv synthesize train --data digits --out gan.safetensors
    python -m adv synthesize train --data cifar10 --scale full --out gan.safetensors
    python -m adv synthesize train --data ~/images --steps 20000 --width 32 --out gan.safetensors

    Killed, it goes on where it was: give the same command again (its state lies beside --out). A
    tenth of the images is held out to calibrate the discriminator, which DDLS needs.

    Beside the five sizes below, --recipe takes lr, d_lr, ema and ema_start (of the average of the
    weights), flip, translate and cutout (augmentation of all that the discriminator sees) and init
    ("normal" or "orthogonal"); what it leaves out is as on the full scale. The five flags change
    it further.
    """
    from dataclasses import replace

    from adv.checkpoints.expressions import parse
    from adv.cli.synthesis.run import train_one
    from adv.data.datasets import load
    from adv.generative.gan import GAN

    if out.exists():
        raise ValueError(f"{out} exists: name another file")
    if out.suffix != ".safetensors":
        raise ValueError(f"{out}: a generator is called NAME.safetensors")
    gan = GAN() if scale == "full" else GAN().small()
    if recipe is not None:
        gan = parse(recipe)
        if not isinstance(gan, GAN):
            raise ValueError(f"--recipe is a GAN(...), not a {type(gan).__name__}")
    changes: dict[str, Any] = {key: value for key, value in sizes.items() if value is not None}
    train_one(replace(gan, **changes), load(data), images, seed, out, every)


@synthesize.command()
@click.argument("generator", type=_FILE, required=False)
@click.option("--out", type=_FILE, required=True, help="The set, NAME.npz; never overwritten.")
@click.option("--count", type=COUNT, required=True, help="How many images.")
@click.option(
    "--source",
    type=click.Choice(["gaussian", "mixup"]),
    help="Instead of a GENERATOR: what one has to beat, fitted to --data.",
)
@click.option("--data", metavar="NAME", help=f"Of --source. {DATA}")
@click.option("--images", type=COUNT, help="Of --source: how many real ones. Default: all.")
@click.option("--rank", type=COUNT, help="Of gaussian: of the covariance. Default: full.")
@click.option("--alpha", type=click.FloatRange(0, min_open=True), help="Of mixup. Default: 1.")
@click.option("--plain", is_flag=True, help="The last weights, not their moving average.")
@click.option("--ddls", is_flag=True, help="Walk z to where the discriminator sees real images.")
@click.option("--ddls-steps", type=COUNT, help="Of each walk. Default: 100.")
@click.option(
    "--step-size", type=click.FloatRange(0, min_open=True), help="Of the walk. Default: 0.1."
)
@click.option("--ula", is_flag=True, help="Take every step of the walk, without Metropolis.")
@click.option(
    "--relabel",
    type=_FILE,
    metavar="CHECKPOINT",
    help="Label the images by this net, not by the class that they were drawn for.",
)
@_SEED
def sample(generator: Path | None, source: str | None, **given: Any) -> None:
    """Draw a set of images into an .npz with its recipe and its hash.

    \b
    python -m adv synthesize sample gan.safetensors --count 5000 --out ema.npz
    python -m adv synthesize sample gan.safetensors --ddls --count 5000 --out ddls.npz
    python -m adv synthesize sample gan.safetensors --count 5000 --out named.npz \\
        --relabel net.safetensors
    python -m adv synthesize sample --source gaussian --data digits --count 5000 --out g.npz

    Killed, it goes on where it was: give the same command again (what is drawn lies in OUT.state).
    Equal flags give equal images. The classes are as frequent as among the real images. A
    recipe takes the set by Generated('made.npz', FRACTION), and score says how good it is.
    """
    from adv.cli.synthesis.run import Wish, sample_baseline, sample_gan
    from adv.data.datasets import load

    if (generator is None) == (source is None):
        raise ValueError("name a GENERATOR or a --source, one of them")
    _belong(given, source)
    names = _judge(given["relabel"])
    wish = Wish(given["count"], given["seed"], given["out"], names)
    if generator is not None:
        sample_gan(generator, not given["plain"], _walk(given), wish)
    else:
        made = _baseline(source, given)
        sample_baseline(made, load(given["data"]), given["images"], wish)


@synthesize.command()
@click.argument("made", type=_FILE, metavar="SET")
@click.option("--data", required=True, metavar="NAME", help=f"What it imitates. {DATA}")
@click.option(
    "--net",
    type=_FILE,
    metavar="CHECKPOINT",
    help="Whose features are compared. Default: a BigNet, trained once on the real images.",
)
@click.option(
    "--images", type=COUNT, default=2000, show_default=True, help="At most so many, of each."
)
@click.option(
    "--fid/--no-fid",
    default=True,
    show_default=True,
    help="The standard FID, of all images, where its weights are: long without a GPU.",
)
@click.option("--grid", type=_FILE, help="Write a picture, NAME.png: a row for each class.")
def score(made: Path, data: str, net: Path | None, **wanted: Any) -> None:
    """Score a set: Frechet distance, precision, recall, coverage, memorisation.

    \b
    python -m adv synthesize score made.npz --data digits --grid made.png
    python -m adv synthesize score 1m.npz --data cifar10 --net net.safetensors

    The features are those of our own classifier, so that no figure can be compared with published
    ones; a row of held-out real images shows what is possible. The standard FID is taken too where
    torch-fidelity and its weights are there.
    """
    from adv.cli.synthesis.run import score_one
    from adv.data.datasets import load

    score_one(made, load(data), _judge(net), **wanted)


def _judge(path: Path | None) -> Judge | None:
    if path is None:
        return None
    from adv.cli.synthesis.labeller import Judge
    from adv.cli.target import load_checkpoint
    from adv.generative.cache import cache_key
    from adv.runtime.devices import on_device

    kept = load_checkpoint(path)
    return Judge(str(path), on_device(kept.net).eval(), kept.classes, cache_key(path.read_bytes()))


def _belong(given: dict[str, Any], source: str | None) -> None:
    """Raise ValueError where a flag is given that means nothing beside the others."""
    walk = {"ddls_steps": "--ddls", "step_size": "--ddls", "ula": "--ddls"}
    needs = {"data": "--source", "images": "--source", "rank": "--source gaussian"}
    needs |= {"alpha": "--source mixup"}
    here = {"--source"} | {f"--source {source}"} if source else set()
    here |= {"--ddls"} if given["ddls"] else set()
    for name, needed in {**walk, **needs}.items():
        if given[name] not in (None, False) and needed not in here:
            raise ValueError(f"--{name.replace('_', '-')} belongs to {needed}")
    if source and (given["ddls"] or given["plain"]):
        raise ValueError("--ddls and --plain belong to a GENERATOR")
    if source and given["data"] is None:
        raise ValueError("--source needs --data: digits, cifar10, cifar100 or a folder")


def _walk(given: dict[str, Any]) -> Any:
    from adv.generative.ddls import DDLS

    if not given["ddls"]:
        return None
    sizes = {"steps": given["ddls_steps"], "step_size": given["step_size"]}
    chosen = {name: value for name, value in sizes.items() if value is not None}
    return DDLS(**chosen, metropolis=not given["ula"])


def _baseline(source: str | None, given: dict[str, Any]) -> Any:
    from adv.generative.baselines import Gaussian, Mixup

    if source == "gaussian":
        return Gaussian(given["rank"])
    return Mixup(given["alpha"] or 1.0)
