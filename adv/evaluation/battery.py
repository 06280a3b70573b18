"""Batteries: sets of attacks that evaluate a net, and settings for random nets.

AutoAttack (Croce and Hein, ICML 2020) runs attacks without free parameters one after another, each
on the images that are still correct. Its robust accuracy is `Score.worst`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from adv.attacks import APGD, L1, PGD, Attack, Ball, Linf, Square, Worst, as_attack
from adv.attacks.composite import members
from adv.attacks.settings import ADDED_LATER

_REPORT = ((0.01, 0.0025), (0.02, 0.005), (0.03, 0.008), (0.04, 0.01), (0.06, 0.015), (0.1, 0.02))
_TARGETS = 9


@dataclass(frozen=True)
class Battery:
    """Named attacks, and settings for random nets.

    Args:
      attacks: (name, attack) pairs; names differ. An attack may be any callable of a model, images
        and labels with an attribute `ball`, or an object with `start`, `step`, `steps` and `ball`;
        it becomes an `OwnAttack`.
      draws: draws of a random net in each gradient (expectation over transformation).
      votes: fresh draws of a random net that classify an image.
      seed: seed of the starts and the noise, the same for all nets.
      nested: take an image that stands in a ball to stand in every smaller one. The first attack of
        each `Worst` then goes through the balls; the others begin in the largest ball in which the
        image stands, and go on to smaller ones only where it falls. Attacks in one ball share their
        verdict.
      second_attacks: attacks that a deterministic net meets after all of `attacks`, as of a nested
        battery: from the largest ball in which an image stands, and in smaller ones only where it
        falls. What they fool counts for all attacks in their ball and in larger ones. A random net
        does not meet them, because each further verdict on it may fall on the wrong side by chance.

    Raises:
      ValueError: no attack, duplicate names, something that is no attack, a second attack in a ball
        that none of `attacks` searches, or a count below 1.
    """

    attacks: tuple[tuple[str, Attack], ...]
    draws: int = 5
    votes: int = 20
    seed: int = 20_240_601
    nested: bool = field(default=False, metadata=ADDED_LATER)
    second_attacks: tuple[Attack, ...] = field(default=(), metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        try:
            attacks = tuple((str(name), as_attack(attack)) for name, attack in self.attacks)
        except (TypeError, ValueError) as error:
            raise ValueError(f"a battery has pairs of a name and an attack: {error}") from None
        object.__setattr__(self, "attacks", attacks)
        try:
            second = tuple(as_attack(attack) for attack in self.second_attacks)
        except (TypeError, ValueError) as error:
            raise ValueError(f"second_attacks is a tuple of attacks: {error}") from None
        object.__setattr__(self, "second_attacks", second)
        names = [name for name, _ in self.attacks]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"a battery needs attacks with different names, got {names}")
        balls = [attack.ball for _, attack in attacks]
        stray = [attack.ball for attack in second if attack.ball not in balls]
        if stray:
            raise ValueError(f"a second attack searches {stray[0]}, which none of the attacks does")
        if self.draws < 1 or self.votes < 1:
            raise ValueError("draws and votes must be 1 or more")

    def describe_attacks(self, *, random: bool = False) -> str:
        """Return in one line which attacks a net meets, those of a random one if `random`."""
        names = ", ".join(name for name, _ in self.attacks)
        parts = [part for attack in self.second_attacks for part in members(attack)]
        if random or not parts:
            return names
        second = dict.fromkeys(getattr(part, "name", type(part).__name__) for part in parts)
        return f"{names}, then {' and '.join(second)} at the largest radius withstood"


def report_battery(steps: int = 20, draws: int = 5, votes: int = 20) -> Battery:
    """Return the report's battery: PGD at six radii, whose attacked accuracies are summed.

    (eps, step) = (.01, .0025) (.02, .005) (.03, .008) (.04, .01) (.06, .015) (.1, .02).
    """
    attacks = tuple(
        (f"pgd{steps}-{eps:g}", PGD(Linf(eps), steps=steps, step_size=size))
        for eps, size in _REPORT
    )
    return Battery(attacks, draws=draws, votes=votes)


def margin_battery(steps: int = 20, draws: int = 2, votes: int = 20) -> Battery:
    """Return a stronger battery at the report's radii: `margin_attack` at each, as many steps.

    What then stands in a ball is attacked there once more if the net is not random: by APGD with
    half the steps towards the class that is nearest by linear distance, as in MALT
    (arXiv 2407.02240). It ranks nets as AutoAttack does, for little more than the report's battery
    costs. Two draws of a random net with momentum are as strong as five without (docs/judging.md).
    """
    balls = [Linf(eps) for eps, _ in _REPORT]
    attacks = tuple((f"margin{steps}-{ball.eps:g}", margin_attack(ball, steps)) for ball in balls)
    half = max(steps // 2, 1)
    second = tuple(APGD(ball, half, loss="dlr-targeted", order="distance") for ball in balls)
    return Battery(attacks, draws=draws, votes=votes, second_attacks=second)


def margin_attack(ball: Ball, steps: int) -> PGD:
    """Return PGD on MIFPE, the cross-entropy of logits that are rescaled by their margin.

    The length of its steps falls from 2 eps to 0 as a cosine, twice. `benchmarks/judge_choose.py`
    chose it among attacks of equal cost, without momentum, which is for random nets: it averages
    their noise over the steps. It is defined for two classes and more.

    Args:
      ball: `Linf(eps)` or `L2(eps)`.
      steps: gradient steps, 1 or more.
    """
    return PGD(ball, steps, pace=2.0, loss="mifpe", schedule="cosine", momentum=0.75)


def ball_battery(
    ball: Ball, score: str = "margin", steps: int = 20, draws: int = 5, votes: int = 20
) -> Battery:
    """Return a battery of one attack at one radius.

    Args:
      ball: `Linf(eps)`, `L2(eps)`, or `L1(eps)`, in which it is `APGD`: PGD is weak there.
      score: "margin": on a loss that does not saturate; "report": on the cross-entropy.
      steps: gradient steps, 1 or more.
      draws: of a random net in each gradient.
      votes: of a random net that classify an image.
    """
    if isinstance(ball, L1):
        attack: Attack = APGD(ball, steps, loss="margin" if score == "margin" else "ce")
    elif score == "margin":
        attack = margin_attack(ball, steps)
    else:
        attack = PGD(ball, steps)
    kind = {"margin": "margin", "report": "pgd"}[score]
    name = f"{kind}{steps}-{type(ball).__name__.lower()}-{ball.eps:.4g}"
    return Battery(((name, attack),), draws=draws, votes=votes)


def balls_battery(balls: tuple[Ball, ...], steps: int, draws: int = 5, votes: int = 10) -> Battery:
    """Return a cheap battery over several balls: PGD on the cross-entropy, in L1 APGD."""
    attacks = []
    for ball in balls:
        one = APGD(ball, steps) if isinstance(ball, L1) else PGD(ball, steps, pace=0.3)
        attacks.append((f"pgd{steps}-{type(ball).__name__.lower()}-{ball.eps:.4g}", one))
    return Battery(tuple(attacks), draws=draws, votes=votes)


def quick_battery(steps: int = 10) -> Battery:
    """Return a cheap battery for a net in training: PGD at two radii, five draws if random."""
    points = (0.03, 0.1)
    attacks = tuple((f"pgd{steps}-{e:g}", PGD(Linf(e), steps=steps, pace=0.3)) for e in points)
    return Battery(attacks, draws=5, votes=10)


def autoattack(ball: Ball, classes: int | None = None) -> Battery:
    """Return AutoAttack's standard version, for nets that are not random.

    APGD on the cross-entropy, APGD on the targeted DLR for each of the nine most likely wrong
    classes, and Square with 5,000 queries. FAB is left out: decision 0006.

    Args:
      ball: `Linf(eps)`, `L2(eps)` or `L1(eps)`.
      classes: number of classes of the net. With four to nine there are fewer targets, which
        `evaluate` finds out by itself. With two or three it must be given: the margin then replaces
        DLR, which is not defined.
    """
    attacks = (
        ("apgd-ce", APGD(ball)),
        _make_targeted_attack(ball, classes),
        ("square", Square(ball)),
    )
    return Battery(attacks, draws=20)


def autoattack_rand(ball: Ball, classes: int | None = None) -> Battery:
    """Return AutoAttack's version for random nets: APGD on cross-entropy and on DLR, 20 draws.

    Unlike in the authors' code, images are classified by votes with fresh draws, not by one pass.
    With two classes (give `classes`) the margin replaces DLR.
    """
    few = classes is not None and classes < 3
    second = (
        ("apgd-margin", APGD(ball, loss="margin")) if few else ("apgd-dlr", APGD(ball, loss="dlr"))
    )
    return Battery((("apgd-ce", APGD(ball)), second), draws=20)


def _make_targeted_attack(ball: Ball, classes: int | None) -> tuple[str, Attack]:
    """Return APGD on the targeted DLR, or on the margin if DLR is not defined."""
    if classes is not None and classes < 4:
        return "apgd-margin", APGD(ball, loss="margin")
    targets = range(1, min(_TARGETS, (classes or _TARGETS + 1) - 1) + 1)
    return "apgd-t", Worst(tuple(APGD(ball, loss="dlr-targeted", target=k) for k in targets))
