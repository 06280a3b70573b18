"""Start the finals of a run: choose how many trainings there are, and print what comes."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console

from search.finals.reseeding_study import default_trainings, make_reseeding_study
from search.finals.train_finalist import FinalTraining
from search.record.derived_ledgers import FinalsLedger
from search.record.view import View
from search.reporting.finals_terminal import FinalsLog
from search.reporting.terminal import print_text
from search.study import Study
from search.trials.train_trial import Training


def start_finals(
    console: Console, study: Study, run: Training, trainings: int | None
) -> tuple[Study, FinalTraining] | None:
    """Return the finals as a study and its run; None if there is nothing to train.

    Args:
      console: to print what comes, and its progress.
      study: the search, which is over.
      run: of the search.
      trainings: how many in all; None: as before, or as many as suit the search.

    Raises:
      ValueError: the trainings of an earlier session were scored by another battery.
    """
    assert not isinstance(study.ledger, FinalsLedger), "finals of finals"
    view, final = study.view, _like_earlier_ones(FinalTraining(run), study.view)
    done = len(view.scored())
    if trainings is None:
        trainings = _choose_trainings(view, done)
    strong = final.final_battery.describe()
    finals = make_reseeding_study(study.space, study.ledger, trainings, of=done, **strong)
    if finals is None:
        return None
    finals.trial_folder(0).parent.mkdir(parents=True, exist_ok=True)
    study.ledger.readers.append(FinalsLog(console))
    begun = len(finals.view.trials)
    if begun and not finals.remaining:
        return None
    print_text(
        console,
        f"\nFinals: {len(view.finals_header.trials)} of {done} trials may be on the front. They "
        f"are trained again with fresh seeds, {trainings} trainings at most ({begun} begun "
        f"before), and attacked on {strong['images']} test images. {strong['attacks']}.",
    )
    return finals, final


def _like_earlier_ones(final: FinalTraining, view: View) -> FinalTraining:
    """Return the final training as earlier finals of this run have it, if some began."""
    other = replace(final, nested=False)
    before = view.finals_header.battery if view.finals else ""
    return other if before == other.final_battery.id else final


def _choose_trainings(view: View, done: int) -> int:
    """Return as many trainings as before, or more if more trials have finished since."""
    usual = default_trainings(len(view.trials), view.header.final_trainings)
    before = view.finals_header.trainings
    return before if before and view.finals_header.of == done else max(before, usual)
