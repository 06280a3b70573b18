"""Our AutoAttack beside torchattacks': accuracy and time on the same nets and the same images.

    python benchmarks/autoattack.py --data digits
    python benchmarks/autoattack.py --data FOLDER --images 200 --nets bignet wrn

Each net is trained adversarially for a short time, then both attack it in turns. torchattacks'
AutoAttack takes 10 steps of APGD and FAB where the published standard, and ours, take 100: that is
"as it ships"; "as published" gives its parts 100 steps. Times are medians, of the processor where
that is what computes, so that other programs do not disturb them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torchattacks
from torch import Tensor, nn

from adv import (
    WRN,
    BaseNet,
    BigNet,
    Curriculum,
    Linf,
    OneCycle,
    Recipe,
    Split,
    autoattack,
    evaluate,
    load,
    train,
)  # fmt: skip
from adv.optimizers import AdamW

NETS = {"basenet": BaseNet(), "bignet": BigNet(), "wrn": WRN(10, 1)}
Found = tuple[float, float]


def trained(name: str, split: Split, classes: int, epochs: int, eps: float) -> nn.Module:
    """A net trained on attacks of that radius."""
    recipe = Recipe(
        net=NETS[name],
        optimizer=AdamW(2e-3, decay=OneCycle()),
        curriculum=Curriculum(eps=eps, steps=5, pace=0.3),
        epochs=epochs,
    )
    *_, last = train(recipe, split, classes=classes, seed=0)
    return last.net.eval()


def standard(net: nn.Module, eps: float, classes: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Torchattacks' parts of AutoAttack with the published number of steps."""
    settings = {"eps": eps, "norm": "Linf", "seed": 0}
    return torchattacks.MultiAttack(
        [
            torchattacks.APGD(net, loss="ce", steps=100, **settings),
            torchattacks.APGDT(net, n_classes=classes, steps=100, **settings),
            torchattacks.FAB(net, multi_targeted=True, n_classes=classes, steps=100, **settings),
            torchattacks.Square(net, n_queries=5000, **settings),
        ]
    )


def theirs(attack: Callable[[Tensor, Tensor], Tensor], net: nn.Module, split: Split) -> float:
    """Accuracy after an attack of torchattacks."""
    adv = attack(split.images.contiguous().float() / 255, split.labels)
    with torch.no_grad():
        return float((net(adv).argmax(1) == split.labels).float().mean())


def timed(call: Callable[[], float], device: str) -> Found:
    clock = time.process_time if device == "cpu" else time.perf_counter
    begun = clock()
    accuracy = call()
    return accuracy, clock() - begun


def compare(net: nn.Module, split: Split, args: argparse.Namespace, classes: int) -> None:
    """Print one line for each contender."""
    eps = args.eps
    shipped = torchattacks.AutoAttack(net, eps=eps, n_classes=classes, seed=0)
    contenders: dict[str, Callable[[], float]] = {
        "ours": lambda: evaluate(net, split, autoattack(Linf(eps), classes)).worst,
        "torchattacks as it ships": lambda: theirs(shipped, net, split),
    }
    if args.published:
        parts = standard(net, eps, classes)
        contenders["torchattacks as published"] = lambda: theirs(parts, net, split)
    found: dict[str, list[Found]] = {name: [] for name in contenders}
    for _ in range(args.repeats):
        for name, call in contenders.items():
            found[name].append(timed(call, args.device))
    ours = statistics.median(seconds for _, seconds in found["ours"])
    for name, runs in found.items():
        accuracy = statistics.median(accuracy for accuracy, _ in runs)
        seconds = statistics.median(seconds for _, seconds in runs)
        print(
            f"  {name:26} {100 * accuracy:5.1f} %  {seconds:7.1f} s  x{seconds / ours:.2f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits", help="digits, cifar10 or a folder")
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--weights", nargs="*", default=[], help="NET=FILE.pt, instead of training")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--train-images", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--eps", type=float, default=8 / 255)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--published", action="store_true", help="also with 100 steps")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    data = load(args.data)
    classes, split = len(data.classes), data.test.head(args.images).to(args.device)
    weights = dict(pair.split("=", 1) for pair in args.weights)
    for name in args.nets:
        if name in weights:
            net = NETS[name](classes).eval()
            net.load_state_dict(torch.load(weights[name]))
        else:
            net = trained(name, data.train.head(args.train_images), classes, args.epochs, args.eps)
        net = net.to(args.device)
        clean = (net(split.images.float() / 255).argmax(1) == split.labels).float().mean()
        print(f"{name}, {len(split)} images, eps {args.eps:.4f}; right: {100 * clean:.1f} %")
        compare(net, split, args, classes)


if __name__ == "__main__":
    main()
