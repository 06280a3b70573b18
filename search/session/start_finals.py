"""The finals of a run made ready: who is trained again, how often, and what is said of it."""

from __future__ import annotations

from rich.console import Console

from search.finals.reseeding_study import contest, default_trainings
from search.finals.train_finalist import Final
from search.record.derived_ledgers import FinalsLedger
from search.reporting.finals_terminal import Again
from search.reporting.terminal import say
from search.study import Study
from search.trials.train_trial import Training


def begin(
    console: Console, study: Study, run: Training, trainings: int | None
) -> tuple[Study, Final] | None:
    """The finals as a study and its run; None where no trial has finished or all is known already.

    Args:
      console: where to say what comes, and how it goes.
      study: the search, which is over.
      run: of the search.
      trainings: how many in all; None: as before, or as many as suit the search.

    Raises:
      ValueError: see `contest`.
    """
    assert not isinstance(study.ledger, FinalsLedger), "finals of finals"
    view, final = study.view, Final(run)
    head = view.finals_header
    done = len(view.in_state("finished"))
    if trainings is None:
        usual = default_trainings(len(view.trials))
        before = head.trainings
        trainings = before if before and head.of == done else max(before, usual)
    finals = contest(study.space, study.ledger, trainings, of=done, **final.strong.describe())
    if finals is None:
        return None
    finals.folder(0).parent.mkdir(parents=True, exist_ok=True)
    study.ledger.readers.append(Again(console))
    if finals.view.trials and not finals.open:
        return None
    count, strong = len(view.finals_header.trials), final.strong.describe()
    say(
        console,
        f"\nFinals: {count} of {done} trials may be on the front. They are trained again with "
        f"fresh seeds, {trainings} trainings at most ({len(finals.view.trials)} begun before), and "
        f"attacked on {strong['images']} test images. {strong['attacks']}.",
    )
    return finals, final
