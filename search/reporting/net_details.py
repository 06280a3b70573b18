"""The trials as plain data for the page's script: values, curves, examples, files."""

from __future__ import annotations

import math
from typing import Any

from adv.shell import join_command, quote
from search.formatting import count
from search.outcome.commands import name_commands
from search.outcome.front_member import FrontMember
from search.outcome.roles import BALANCED
from search.record.run_files import is_inside
from search.record.trial import Trial
from search.reporting import plots
from search.reporting.example_images import read_examples
from search.reporting.page import Page
from spaces import find_objective

MAX_EXAMPLES = 40  # nets of the front whose images the page holds
MAX_EPOCHS = 60  # points of a training curve; of more, every second, third, ...
MAX_COLOURS = 8  # options of a choice that can be told apart by colour
FAMILIES = ("model", "net", "family", "architecture")  # names of the choice of a net's kind
FILE, NUMBER = "@FILE@", "@NUMBER@"  # words that a shell does not quote
Plain = dict[str, Any]


def page_data(page: Page) -> Plain:
    """Return what the script shows of each trial, and what it needs to word it."""
    head = page.view.header
    return {
        "trials": [_describe(page, trial) for _, trial in sorted(page.view.trials.items())],
        "front": page.outcome.front.numbers,
        "aims": [plots.axis_title(page.view, name) for name in head.aims],
        "shortAims": [find_objective(name).title.capitalize() for name in head.aims],
        "digits": [0 if find_objective(name).unit == "" else 1 for name in head.aims],
        "knobs": list(head.knobs),
        "families": list_families(page),
        "chance": 100 / head.classes if head.classes else None,
        "commands": list_commands(page),
        "begin": next((r.member.number for r in page.outcome.roles if r.name == BALANCED), None),
    }


def list_families(page: Page) -> dict[str, list[str]]:
    """Return the options of each choice that points can be coloured by, the net's kind first."""
    knobs = page.view.header.knobs
    found = {
        name: [str(option) for option in knob["options"]]
        for name, knob in knobs.items()
        if knob.get("kind") == "Choice" and 1 < len(knob["options"]) <= MAX_COLOURS
    }
    return {name: found[name] for name in sorted(found, key=lambda n: n not in FAMILIES)}


def list_commands(page: Page) -> list[list[str]]:
    """Return what one does with a net and its command.

    FILE stands for the net's file, and NUMBER for that of its trial.
    """
    head = page.view.header
    trust = ["--trust-code"] if head.names_code else []
    known = name_commands(FILE, f"{page.folder.name}-{NUMBER}", head)
    audit = join_command("python", "-m", "adv", "audit", FILE, *trust)
    return [
        ["Evaluate it on the test split", known.evaluate],
        ["Check that its score can be trusted", audit],
        ["Train it at full scale", known.train],
        ["Export it", known.export],
    ]


def _describe(page: Page, trial: Trial) -> Plain:
    """Return a trial as plain data; what it has not is left out."""
    member = page.outcome.front.find(trial.number)
    net = member.net if member else trial
    found: Plain = {
        "n": trial.number,
        "state": trial.state,
        "origin": trial.origin,
        "params": {
            k: str(v) if isinstance(v, bool) else _short(v) for k, v in trial.params.items()
        },
        "seconds": round(trial.seconds, 1),
        "epochs": _training(net),
        "why": trial.reason,
        "remarks": list(dict.fromkeys((*trial.remarks, *net.remarks))),
        "marks": [[mark.name, mark.text] for mark in page.find_marks(trial)],
        "over": list(net.overfitted),
        "kept": net.result.details.best_epoch if net.result else None,
    }
    if trial.result:
        found |= _result(trial) | _curve(net)
        found["file"] = _file(page, trial, "")
    if member:
        found |= _member(page, member)
    return {key: value for key, value in found.items() if value not in (None, "", [], {})}


def _member(page: Page, member: FrontMember) -> Plain:
    """Return what only a net of the front has: roles, means of fresh seeds, examples, commands."""
    found: Plain = {
        "roles": [role.name for role in page.outcome.roles_of(member.number)],
        "source": _describe_source(member),
        "file": _file(page, member.net, str(member.file)),
    }
    if member.measured != "search":
        names = list(member.objectives)
        scales = [find_objective(name).shown for name in names]
        ends = [member.intervals.get(n, (v, v)) for n, v in member.objectives.items()]
        found["final"] = {
            "values": [
                _round(k * member.objectives[n]) for k, n in zip(scales, names, strict=True)
            ],
            "intervals": [
                [_round(k * end) for end in e] for k, e in zip(scales, ends, strict=True)
            ],
            "seeds": len(member.runs),
        }
    if page.outcome.front.numbers.index(member.number) < MAX_EXAMPLES:
        found["examples"] = read_examples(page.folder, member.net)
    return found


def _result(trial: Trial) -> Plain:
    gap = trial.result.details.masking_gap if trial.result else None
    found: Plain = {
        "values": [_round(v) for v in plots.shown_objectives(trial)],
        "intervals": [[_round(low), _round(high)] for low, high in plots.shown_intervals(trial)],
    }
    if gap:
        low, high = gap.interval
        found["gap"] = [_round(100 * gap.gap), _round(100 * low), _round(100 * high)]
        found["flagged"] = bool(gap.flagged)
    return found


def _curve(measured: Trial) -> Plain:
    rows = sorted(map(tuple, measured.result.details.curve or ())) if measured.result else []
    return {"curve": [[_short(row[0]), *(_round(100 * v) for v in row[1:])] for row in rows]}


def _training(trial: Trial) -> list[list[Any]]:
    """Return epoch, natural and robust validation accuracy in percent, None where unknown."""
    rows = []
    for epoch, report in sorted(trial.epochs.items()):
        both = [report.metrics.get(name) for name in ("watched_natural", "watched_robust")]
        if any(value is not None for value in both):
            rows.append([epoch, *(None if v is None else _round(100 * v) for v in both)])
    kept = trial.result.details.best_epoch if trial.result else None
    step = -(-len(rows) // MAX_EPOCHS)
    last = len(rows) - 1
    return [row for i, row in enumerate(rows) if i % step == 0 or i == last or row[0] == kept]


def _describe_source(member: FrontMember) -> str:
    images = (member.net.result.details.images if member.net.result else None) or "?"
    if not member.is_final:
        return f"the training of the search, on {images} validation images"
    return (
        f"a final training, seed {member.net.seed}, of {count(len(member.runs), 'fresh seed')} the "
        f"one nearest to their mean, on {images} test images"
    )


def _file(page: Page, net: Trial, copy: str) -> str:
    """Return the file of a net as a command takes it, "" if there is none.

    Args:
      page: of the run.
      net: the training whose weights they are.
      copy: the file's copy among those of the front; "" for none.
    """
    own = (net.result.details.weights if net.result else None) or ""
    if net.lost_net or not is_inside(own):
        return ""
    return quote(page.folder / (copy or own))


def _short(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _round(value: float) -> float | None:
    return round(value, 2) if math.isfinite(value) else None
