"""Record what torchattacks and foolbox do on small problems, for the tests to compare with.

    python benchmarks/record_peers.py                    # everything, into tests/recorded/
    python benchmarks/record_peers.py --only square

The tests need neither library, whose pins would hold back those of everyone who runs the tests.
benchmarks/README.md says how the environment for this script is made. Each `.npz` file holds plain
arrays: inputs, starts, results, and the versions of the libraries that made them.

PGD amplifies rounding: where a pixel's gradient is 0 to rounding, its sign depends on the
processor. So the peers' gradients are taken in float64, and of 32 images eight are recorded, at
which the peers arrive at the same pixels also with weights that are off by one millionth, which is
more than any processor's rounding.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator
from importlib.metadata import version

import numpy as np
import torch
from peer_attacks import import_peer
from recorded import (
    BALLS,
    FOLDER,
    NETS,
    PROBLEMS,
    STARTS,
    STEP_SIZES,
    draw_candidates,
    fingerprint,
    make_random_net,
    make_square_problem,
    read_digits,
    read_trained_net,
)
from torch import Tensor, nn

from adv import (
    AdamW,
    Augment,
    BaseNet,
    Curriculum,
    OneCycle,
    Recipe,
    Split,
    load,
    train,
)

torchattacks, foolbox, eagerpy = map(import_peer, ("torchattacks", "foolbox", "eagerpy"))
Images = dict[str, Tensor]
KEPT = 8  # images
LIBRARIES = ("torchattacks", "foolbox", "torch", "numpy")


def write(name: str, **arrays: np.ndarray | Tensor) -> None:
    """Write a recording with the versions of what made it; keys are the arrays' names."""
    if name in PROBLEMS:
        arrays["fingerprint"] = np.array(fingerprint(*PROBLEMS[name]()))
    versions = np.array([f"{library} {version(library)}" for library in LIBRARIES])
    path = FOLDER / f"{name}.npz"
    np.savez_compressed(path, versions=versions, **{k: np.asarray(v) for k, v in arrays.items()})
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


class Double(nn.Module):
    """A net that computes in float64."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = copy.deepcopy(net).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.double())


# --- PGD and FGSM ---


def torchattacks_start(ball: str, x: Tensor) -> Tensor:
    """Where torchattacks begins, drawn from torch's global generator as it does."""
    eps = BALLS[ball].eps
    if ball == "linf":
        return (x + torch.empty_like(x).uniform_(-eps, eps)).clamp(0, 1)
    delta = torch.empty_like(x).normal_()
    length = delta.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
    delta *= torch.zeros_like(length).uniform_(0, 1) / length * eps
    return (x + delta).clamp(0, 1)


def draw_start(ball: str, x: Tensor) -> Tensor:
    """The random start that both libraries are given."""
    torch.manual_seed(11)
    return torchattacks_start(ball, x)


def run_torchattacks(net: nn.Module, x: Tensor, y: Tensor) -> Iterator[tuple[str, Tensor]]:
    """PGD and FGSM of torchattacks: names and images."""
    yield "fgsm torchattacks linf", torchattacks.FGSM(net, eps=0.03)(x, y)
    for ball, peer in (("linf", torchattacks.PGD), ("l2", torchattacks.PGDL2)):
        for start in STARTS:
            torch.manual_seed(11)
            attack = peer(
                net,
                eps=BALLS[ball].eps,
                alpha=STEP_SIZES[ball],
                steps=10,
                random_start=start != "the image",
            )
            yield f"pgd torchattacks {ball} {start}", attack(x, y)


def run_foolbox(net: nn.Module, x: Tensor, y: Tensor) -> Iterator[tuple[str, Tensor]]:
    """PGD and FGSM of foolbox: names and images."""
    model, attacks = foolbox.PyTorchModel(net, bounds=(0, 1)), foolbox.attacks
    for ball, peer in (
        ("linf", attacks.LinfFastGradientAttack),
        ("l2", attacks.L2FastGradientAttack),
    ):
        yield f"fgsm foolbox {ball}", peer().run(model, x, y, epsilon=BALLS[ball].eps)
    relative = attacks.LinfPGD(rel_stepsize=0.2, steps=5, random_start=False)
    yield "pgd foolbox relative", relative.run(model, x, y, epsilon=0.02)
    for ball, peer in (("linf", attacks.LinfPGD), ("l2", attacks.L2PGD)):
        for start in STARTS:
            attack = peer(abs_stepsize=STEP_SIZES[ball], steps=10, random_start=start != STARTS[0])
            begun = eagerpy.astensor(draw_start(ball, x))
            attack.get_random_start = lambda *_, begun=begun: begun
            name = f"pgd foolbox {ball} {start}"
            yield name, attack.run(model, x, y, epsilon=BALLS[ball].eps)


def run_peers(net: nn.Module, x: Tensor, y: Tensor) -> Images:
    """PGD and FGSM of both, with gradients in float64: images in float32, by name."""
    double = Double(net).eval()
    return {k: v.float() for run in (run_torchattacks, run_foolbox) for k, v in run(double, x, y)}


def find_steady(net: nn.Module, x: Tensor, y: Tensor, theirs: Images) -> Tensor:
    """[n] booleans: images at which the peers' results do not depend on rounding."""
    steady = torch.ones(len(x), dtype=torch.bool)
    for draw in range(5):
        torch.manual_seed(draw)
        near = copy.deepcopy(net)
        for weight in near.parameters():
            weight.data *= 1 + 1e-6 * torch.randn_like(weight)
        for name, images in run_peers(near, x, y).items():
            steady &= (images - theirs[name]).abs().amax((1, 2, 3)) < 1e-6
    return steady


def record_pgd() -> None:
    x, theirs, chosen = draw_candidates(), {}, torch.ones(len(draw_candidates())).bool()
    for name in NETS:
        net = make_random_net(name)
        y = net(x).argmax(1)
        theirs[name] = run_peers(net, x, y)
        fits = find_steady(net, x, y, theirs[name])
        print(f"{name}: {int(fits.sum())} of {len(x)} images do not depend on rounding")
        chosen &= fits
    rows = chosen.nonzero()[:KEPT, 0]
    if len(rows) < KEPT:
        raise SystemExit(f"only {len(rows)} images do not depend on rounding: draw more")
    write("pgd_images", images=(255 * x[rows]).round().byte())
    for ball in BALLS:
        write(f"pgd_start_{ball}", start=draw_start(ball, x)[rows])
    for net, images in theirs.items():
        _write_results(net, {name: made[rows] for name, made in images.items()})


def _write_results(net: str, made: Images) -> None:
    for ball in BALLS:
        arrays = {}
        for start in STARTS:
            theirs, other = (made[f"pgd {peer} {ball} {start}"] for peer in LIBRARIES[:2])
            arrays |= {f"torchattacks, {start}": theirs, f"foolbox minus, {start}": other - theirs}
            assert torch.equal(theirs + (other - theirs), other)
        write(f"pgd_{net}_{ball}", **arrays)
    theirs, other = (made[f"fgsm {peer} linf"] for peer in LIBRARIES[:2])
    arrays = {"torchattacks linf": theirs, "foolbox minus linf": other - theirs}
    arrays |= {"foolbox l2": made["fgsm foolbox l2"], "relative": made["pgd foolbox relative"]}
    assert torch.equal(theirs + (other - theirs), other)
    write(f"one_step_{net}", **arrays)


# --- Square ---


def record_square() -> None:
    net, x, y = make_square_problem()
    arrays: dict[str, Tensor] = {}
    for ball, norm in (("linf", "Linf"), ("l2", "L2")):
        peers = [
            torchattacks.Square(net, norm=norm, eps=BALLS[ball].eps, n_queries=400, seed=seed)
            for seed in range(2)
        ]
        arrays[f"right {ball}"] = torch.stack([net(peer(x, y)).argmax(1) == y for peer in peers])
    peer = torchattacks.Square(nn.Identity(), norm="L2")
    peer.device = "cpu"
    for side in (1, 3, 6, 21):
        seeds = {}
        for seed in range(20):
            torch.manual_seed(seed)
            seeds[int(torch.rand(1) > 0.5)] = seed
        for lying, seed in seeds.items():
            torch.manual_seed(seed)
            arrays[f"bump {side} {lying}"] = peer.eta(side).contiguous()
    write("square", **arrays)


# --- APGD and AutoAttack ---


def train_net(split: Split, fraction: float) -> nn.Module:
    """A net trained for seconds, that share of its batches attacked."""
    recipe = Recipe(
        net=BaseNet(),
        optimizer=AdamW(4e-3, decay=OneCycle()),
        curriculum=Curriculum(eps=0.1, steps=3, pace=0.4, fraction=fraction),
        augment=Augment(flip=False, crop=0, jitter=0),
        epochs=3,
        batch=64,
    )
    # On nets of eight seeds, APGD's accuracy and torchattacks' differ by -0.7 to 1.5 points at 15
    # steps; seed 3 leaves room for rounding: at most 0.3 points.
    *_, last = train(recipe, split, classes=10, seed=3)
    return last.net.eval()


def find_correct(
    attack: Callable[[Tensor, Tensor], Tensor], net: nn.Module, split: Split
) -> Tensor:
    """[n] booleans: which images the net still gets right."""
    adv = attack(split.images.contiguous().float() / 255, split.labels)
    return net(adv).argmax(1) == split.labels


def record_autoattack() -> None:
    data = load("digits")
    images = data.test.images.contiguous()
    assert torch.equal(images, images[:, :1].expand_as(images)), "digits are grey"
    write("digits", pixels=images[:, 0], labels=data.test.labels.byte())
    for kind, fraction in (("plain", 0.0), ("robust", 0.5)):
        weights = train_net(data.train, fraction).state_dict()
        write(f"net_{kind}", **{name: value.half() for name, value in weights.items()})
    arrays, split, robust = {}, read_digits(), read_trained_net("robust")
    for norm, eps in (("Linf", 0.06), ("L2", 1.0)):
        settings = {"norm": norm, "eps": eps, "steps": 15}
        for loss in ("ce", "dlr", "dlr-targeted"):
            peers = [
                torchattacks.APGDT(robust, n_classes=3, seed=seed, **settings)
                if loss == "dlr-targeted"
                else torchattacks.APGD(robust, loss=loss, seed=seed, **settings)
                for seed in range(3)
            ]
            rows = [find_correct(peer, robust, split) for peer in peers]
            arrays[f"apgd {norm} {loss}"] = torch.stack(rows)
    for kind, eps in (("plain", 0.04), ("robust", 0.06)):
        net = read_trained_net(kind)
        peer = torchattacks.AutoAttack(net, eps=eps, n_classes=10, seed=0)
        peer._autoattack.attacks[-1].n_queries = 200  # 5,000 take minutes
        arrays[f"autoattack {kind}"] = find_correct(peer, net, split.head(40))
    write("autoattack", **arrays)


RECORDERS = {"pgd": record_pgd, "square": record_square, "autoattack": record_autoattack}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=RECORDERS)
    args = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    for name, record in RECORDERS.items():
        if args.only in (None, name):
            record()


if __name__ == "__main__":
    main()
