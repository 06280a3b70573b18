"""The outcome of a run, from its ledger alone: what to see first, and which net to take.

outcome = find_outcome(view, folder)
if outcome.caveat:
    print(outcome.caveat.text, outcome.caveat.command)
for role in outcome.roles:
    print(role.name, role.member.name, make_commands(role.member, view.header, folder).evaluate)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adv.shell import join_command
from search.finals.finalist import Finalist
from search.finals.verdict import Verdict
from search.formatting import count
from search.outcome.front import RunFront, find_front
from search.outcome.roles import Role, assign_roles, find_verdict
from search.record.view import View


@dataclass(frozen=True)
class Caveat:
    """A warning to read before the figures of a run.

    Args:
      text: in one sentence.
      command: that would help; "" if none does.
    """

    text: str
    command: str = ""


@dataclass(frozen=True)
class Outcome:
    """The result of a run: its front, its recommended nets and its verdict.

    Args:
      front: the one front.
      roles: the recommended nets; none without a result.
      verdict: whether there is a trade-off; None without a result.
      caveat: that the nets cannot be told apart; None if they can.
    """

    front: RunFront
    roles: tuple[Role, ...] = ()
    verdict: Verdict | None = None
    caveat: Caveat | None = None

    def roles_of(self, number: int) -> list[Role]:
        """Return the roles of the net of a trial."""
        return [role for role in self.roles if role.member.number == number]


def find_outcome(view: View, folder: Path, finalists: Sequence[Finalist] | None = None) -> Outcome:
    """Return what came of a run.

    Args:
      view: of the search.
      folder: of the run, for the command of the caveat.
      finalists: from `compute_standings`; None computes them.
    """
    front = find_front(view, finalists)
    verdict = find_verdict(view, front)
    caveat = _find_caveat(view, verdict, folder) if verdict else None
    return Outcome(front, assign_roles(view, front), verdict, caveat)


def _find_caveat(view: View, verdict: Verdict, folder: Path) -> Caveat | None:
    if verdict.kind != "undecided":
        return None
    if not verdict.more:
        return Caveat(describe_undecided(verdict))
    begun = len(view.finals.trials) if view.finals else 0
    number = str(begun + verdict.more)
    flags: list[str | Path] = ["--finalists", folder, "--final-trainings", number]
    command = join_command("python", "launch.py", *flags, *view.header.code_flags)
    return Caveat(describe_undecided(verdict), command)


def describe_undecided(verdict: Verdict) -> str:
    """Return in one sentence that it is not known whether there is a trade-off, and what helps."""
    some = count(len(verdict.overlapping), "trial")
    why = f": the intervals of {some} overlap" if verdict.overlapping else ""
    remedy = (
        f"about {count(verdict.more, 'more training')} would tell"
        if verdict.more
        else "more trainings alone would not tell, more images would (--images)"
    )
    open_question = "so it is open whether there is a trade-off"
    return f"The nets cannot be told apart{why}, {open_question}; {remedy}."
