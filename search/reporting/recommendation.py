"""The recommended nets of a run in the terminal, with the commands that follow."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from search.formatting import format_interval, objective_title
from search.outcome.commands import make_commands
from search.outcome.marks import list_marks
from search.outcome.outcome import Outcome
from search.outcome.roles import Role
from search.record.study_header import StudyHeader
from search.reporting.terminal import print_command, print_text


def print_roles(console: Console, header: StudyHeader, folder: Path, outcome: Outcome) -> None:
    """Print each recommended net with its values and three commands; nothing without a result.

    Args:
      console: to print to.
      header: of the search.
      folder: of the run.
      outcome: of the run.
    """
    by_net: dict[int, list[Role]] = {}
    for role in outcome.roles:
        by_net.setdefault(role.member.number, []).append(role)
    if not by_net:
        return
    console.print()
    print_text(console, "Recommended nets", "bold")
    for roles in by_net.values():
        for line in describe_roles(roles):
            print_text(console, line)
        member = roles[0].member
        if not member.net.lost_net:
            commands = make_commands(member, header, folder)
            for command in (commands.evaluate, commands.train, commands.export):
                print_command(console, command)
    console.print()


def describe_roles(roles: list[Role]) -> list[str]:
    """Return in sentences what a net is recommended for, and what it cannot be told from.

    Args:
      roles: of one net.
    """
    member = roles[0].member
    values = ", ".join(
        f"{objective_title(name)} {format_interval(name, value, member.intervals.get(name))}"
        for name, value in member.objectives.items()
    )
    *most, last = (role.name for role in roles)
    names = f"{', '.join(most)} and {last}" if most else last
    marks = f" [{list_marks(member.marks)}]" if member.marks else ""
    lines = [f"{names[0].upper()}{names[1:]}: trial {member.number}{marks}, {values}"]
    for role in roles:
        if role.tied:
            where = f"in {objective_title(role.aim)}" if role.aim else "in either objective"
            plural = "s" * (len(role.tied) > 1)
            others = ", ".join(map(str, role.tied))
            lines.append(f"  {role.name}: not told {where} from trial{plural} {others}")
    if member.net.lost_net:
        lines.append(f"  its net is lost: {member.net.lost_net}")
    return lines
