"""The first section of the HTML report: what came of the run, and which net to take."""

from __future__ import annotations

from html import escape

from search.outcome.commands import make_commands
from search.outcome.front_member import FrontMember
from search.outcome.roles import Role
from search.reporting.html_template import command_line, file_link, section, value_cell
from search.reporting.page import Page
from search.reporting.verdict_text import describe_verdict
from spaces import find_objective


def verdict_section(page: Page) -> list[str]:
    """Return the section with the verdict and the recommended nets, none if there is no result."""
    outcome = page.outcome
    if outcome.verdict is None:
        return []
    answer, *rest = describe_verdict(page.view, outcome.verdict)
    first = f"<p class='verdict'>{escape(answer)}</p>"
    if outcome.caveat:
        first = f"<p class='verdict caveat'>{escape(outcome.caveat.text)}</p>"
        first += command_line(outcome.caveat.command) if outcome.caveat.command else ""
    notes = "".join(f"<p class='note'>{escape(line)}</p>" for line in rest)
    return [section("Result", "", first + notes + _recommend(page), "result")]


def _recommend(page: Page) -> str:
    """Return a card for each recommended net, with all its roles."""
    by_net: dict[int, list[Role]] = {}
    for role in page.outcome.roles:
        by_net.setdefault(role.member.number, []).append(role)
    if not by_net:
        return ""
    cards = "".join(_card(page, roles) for roles in by_net.values())
    return f"<h3>Recommended nets</h3><div class='cards'>{cards}</div>"


def _card(page: Page, roles: list[Role]) -> str:
    member = roles[0].member
    *most, last = [role.name for role in roles]
    names = f"{', '.join(most)} and {last}" if most else last
    values = "".join(
        f"<p>{escape(find_objective(name).title.capitalize())}{_unit(name)}<br><span class='big'>"
        f"{value_cell(name, value, member.intervals.get(name))}</span></p>"
        for name, value in member.objectives.items()
    )
    marks = "".join(f"<p><b class='flag'>{m.name}</b>: {escape(m.text)}.</p>" for m in member.marks)
    tied = sorted({number for role in roles for number in role.tied})
    same = ""
    if tied:
        plural = "s" * (len(tied) > 1)
        others = ", ".join(map(str, tied))
        same = f"<p class='note'>Cannot be told from it: trial{plural} {others}.</p>"
    link = file_link(str(member.file), str(member.file))
    lost = ""
    if member.net.lost_net:
        lost = f" <b class='flag'>its net is lost</b>: {escape(member.net.lost_net)}"
    return (
        f"<div class='card'><h3>{escape(names[0].upper() + names[1:])}: "
        f"<button type='button' class='link' data-choose='{member.number}' data-jump>trial "
        f"{member.number}</button></h3>{marks}<div "
        f"class='pair'>{values}</div>{same}<p>{link}{lost}</p>"
        f"{_commands(page, member)}</div>"
    )


def _commands(page: Page, member: FrontMember) -> str:
    """Return the next commands for a net, none if its file is lost."""
    if member.net.lost_net:
        return ""
    three = make_commands(member, page.view.header, page.folder)
    named = (
        ("Evaluate on the test split", three.evaluate),
        ("Train at full scale", three.train),
        ("Export", three.export),
    )
    return "".join(f"<div>{what}</div>{command_line(command)}" for what, command in named)


def _unit(name: str) -> str:
    unit = find_objective(name).unit
    return f" ({unit})" if unit and unit != "points" else ""
