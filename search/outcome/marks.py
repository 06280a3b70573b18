"""The marks of a net: why its scores mislead. They are shown wherever the net is shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from adv.intervals import WRONG_GRADIENTS_LIMIT, wilson
from search.finals.finalist import Finalist
from search.record.study_header import StudyHeader
from search.record.trial import Trial

SYMBOL = "!"
Name = Literal["overfitted", "flagged", "chance level", "majority class"]


@dataclass(frozen=True)
class Mark:
    """Why the scores of a net mislead.

    Args:
      name: in tables and as a tag in W&B.
      text: the reason, in a few words.
      misleads: whether the net should not be recommended; False for a net that overfitted to its
        training attack: its scores are by attacks of many steps, which it does not fool.
    """

    name: Name
    text: str
    misleads: bool = True


def find_marks(
    trial: Trial, header: StudyHeader, finalist: Finalist | None = None
) -> tuple[Mark, ...]:
    """Return the marks of a net: of its training in the search, and of those with fresh seeds.

    Args:
      trial: of the search; one that runs still may be marked too.
      header: of the search, which knows the number of classes.
      finalist: the trial with its trainings with fresh seeds; None: there are none.
    """
    runs = finalist.runs if finalist else ()
    found = [
        _find_overfitting((trial, *runs)),
        _find_masking(trial, finalist),
        _find_guessing((trial, *runs), header.classes),
    ]
    return tuple(mark for mark in found if mark)


def list_marks(marks: Iterable[Mark]) -> str:
    """Return the names of marks, separated by commas; "" for none."""
    return ", ".join(mark.name for mark in marks)


def _find_overfitting(trainings: Sequence[Trial]) -> Mark | None:
    """Mark a net whose kept epoch overfitted catastrophically: more than one step fools it."""
    for training in trainings:
        if (epoch := _kept_epoch(training)) in training.overfitted:
            text = "overfitted catastrophically to its one-step training attack"
            known = training.epochs[epoch].metrics
            if {"eps", "one_step_accuracy", "pgd_accuracy"} <= known.keys():
                text += (
                    f": at the training radius {known['eps']:.3g} that attack leaves "
                    f"{100 * known['one_step_accuracy']:.0f} % of some training images and PGD "
                    f"{100 * known['pgd_accuracy']:.0f} %"
                )
            text += "; its scores are by attacks of many steps"
            return Mark("overfitted", text, misleads=False)
    return None


def _kept_epoch(training: Trial) -> int:
    known = training.result and training.result.details.best_epoch
    return known or max(training.epochs, default=0)


def _find_masking(trial: Trial, finalist: Finalist | None) -> Mark | None:
    """Mark a net whose scores are due to an attack that is too weak for it."""
    gap = trial.result.details.masking_gap if trial.result else None
    if gap and gap.flagged:
        if (gap.wrong_gradients or 0) > WRONG_GRADIENTS_LIMIT:
            share = f"{100 * (gap.wrong_gradients or 0):.0f} %"
            return Mark("flagged", f"at {share} of the images its gradient is wrong")
        at = "" if gap.eps is None else f" at eps {gap.eps:.3g}"
        return Mark("flagged", _describe_gap(gap.gap, gap.interval, at))
    if finalist and finalist.flagged and finalist.gap:
        return Mark("flagged", _describe_gap(*finalist.gap, ""))
    return None


def _describe_gap(gap: float, interval: tuple[float, float], at: str) -> str:
    low, high = (100 * end for end in interval)
    return (
        f"a stronger attack lowers its accuracy by {100 * gap:.1f} points ({low:.1f} to "
        f"{high:.1f}){at}"
    )


def _find_guessing(trainings: Sequence[Trial], classes: int) -> Mark | None:
    """Mark a net that cannot be told from one that knows nothing, or only the largest class."""
    if classes < 2:
        return None
    for result in (training.result for training in trainings):
        if result is None:
            continue
        natural, images = result.objectives["natural_accuracy"], result.details.images
        known = result.intervals.get("natural_accuracy", (natural, natural))
        if known[0] <= 1 / classes:
            return Mark("chance level", "its accuracy cannot be told from chance")
        balanced = result.objectives.get("balanced_accuracy")
        if balanced is not None:
            low = wilson(min(1.0, max(0.0, balanced)), images)[0] if images else balanced
            if low <= 1 / classes:
                return Mark("majority class", "knows no more than the largest class")
    return None
