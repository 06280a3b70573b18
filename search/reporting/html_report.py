"""The study as one HTML page that opens without a network: the front, its curves, what it means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from adv.files import write_atomic
from search.record.trial import Trial
from search.record.view import View
from search.reporting import plots
from search.reporting.csv_tables import hypervolumes
from search.reporting.finals_html import finals
from search.reporting.html_template import (
    CARE,
    PAGE,
    PUBLISH,
    PUBLISHED,
    figure,
    script,
    section,
    table,
)
from search.reporting.importance import importance
from search.stopping.audit import describe_stopping

STATES = ("finished", "stopped", "failed", "running")


def write_report(view: View, path: Path) -> None:
    """Write the page to `path`, which lies in the run folder, because links are relative to it.

    It is replaced in one step and loads nothing from outside. It can be written at any time: what
    is not known yet is said to be missing.
    """
    head = view.header
    space = head.space or "Study"
    title = f"{space}: {head.name or path.parent.name}"
    body = [
        f"<header><p class='kicker'>Robustune</p><h1>{escape(space)}</h1>"
        f"<p class='question'>{escape(head.question)}</p>{_facts(view)}</header>",
        *finals(view),
        *(_front(view) if view.front() else [_nothing()]),
        _stopping(view),
        _remarks(view),
        _failed(view),
        _care(view),
    ]
    page = PAGE.replace("{{plotly}}", script() if view.front() else "")
    page = page.replace("{{title}}", escape(title))
    write_atomic(
        path, page.replace("{{body}}", "\n".join(filter(None, body)))
    )  # a user's text, so last


def _facts(view: View) -> str:
    head, scale = view.header, view.header.scale
    known = [(len(view.in_state(state)), state) for state in STATES]
    counts = ", ".join(f"{n} {state}" for n, state in known if n or state == "finished")
    area, best = hypervolumes(view), len(view.front())
    facts = {
        "Study": head.name,
        "Trials": f"{counts}, of {head.trials or '?'} planned",
        "Front": f"{best} trial{'s' * (best > 1)}, hypervolume {area[-1]:.3f}" if area else "none",
        "Data": head.data or scale.get("data", ""),
        "Scale": f"{scale.get('name', '')}, {scale.get('epochs', '?')} epochs a trial",
        "Elapsed": duration(view.elapsed),
        "Seed": "" if head.seed is None else head.seed,
        "Commit": head.commit or "unknown",
        "Hardware": head.hardware or "",
    }
    items = "".join(
        f"<div><dt>{key}</dt><dd>{escape(_flat(value))}</dd></div>"
        for key, value in facts.items()
        if value != ""
    )
    return f"<dl class='facts'>{items}</dl>"


def _front(view: View) -> list[str]:
    shares = importance(view)
    explained = (
        f"<p class='none'>{escape(shares)}</p>"
        if isinstance(shares, str)
        else figure(plots.importance(shares), "importance", "Bars: share of each knob")
    )
    return [
        section(
            "The front that the search saw" if view.finals else "The front",
            "Each point is a finished trial; no other trial is better than a front member in both "
            "values. Bars are 95 % intervals. Point at a trial to see its knobs.",
            figure(plots.front(view), "front", "Scatter: natural accuracy and attacked score"),
        ),
        section("Front members", "", _members(view)),
        section(
            "Robustness curves",
            "Accuracy of the front members as the attack gets stronger, with 95 % intervals. A "
            "curve that rises, or stays high at the right end, speaks for a weak attack, not for a "
            "strong net.",
            figure(plots.curves(view), "curves", "Lines: accuracy against attack strength"),
        ),
        section(
            "Which knobs matter",
            "PED-ANOVA: what tells the best trials from the rest. From few trials it is a hint, no "
            "more, above all for a knob that exists in some trials only.",
            explained,
        ),
        section(
            "Progress",
            "The area under the front after each finished trial. A flat end says that more trials "
            "of the same kind will hardly help.",
            figure(plots.progress(view), "progress", "Line: hypervolume after each trial"),
        ),
        section(
            "Learning curves",
            "Accuracy under a quick attack, watched while training. The marker is the epoch that "
            "was kept; a fall after it is robust overfitting.",
            figure(plots.learning(view), "learning", "Lines: accuracy under attack by epoch"),
        ),
    ]


def _nothing() -> str:
    return section(
        "The front", "", "<p class='none'>No trial has finished, so there is no front.</p>"
    )


def _members(view: View) -> str:
    names = list(view.header.knobs)
    heads = ["Trial", "Natural accuracy (%)", "Attacked score", "Masking gap (points)",
             *map(escape, names), "Weights"]  # fmt: skip
    return table("The front, most accurate first", heads, [
        [str(trial.number), *_values(trial), _gap(trial),
         *(escape(plots.number(trial.params.get(name, "–"))) for name in names), _weights(trial)]
        for trial in view.front()
    ])  # fmt: skip


def _values(trial: Trial) -> list[str]:
    return [
        f"<b>{value:.1f}</b> <span class='pm'>[{low:.1f}, {high:.1f}]</span>"
        for value, (low, high) in zip(plots.shown(trial), plots.ranges(trial), strict=True)
    ]


def _gap(trial: Trial) -> str:
    gap = trial.result.details.masking_gap if trial.result else None
    if gap is None:
        return "–"
    value, low, high = (100 * v for v in (gap.gap, *gap.interval))
    flag = " <b class='flag'>flagged</b>" if gap.flagged else ""
    return f"{value:.1f} <span class='pm'>[{low:.1f}, {high:.1f}]</span>{flag}"


def _weights(trial: Trial) -> str:
    path = (trial.result.details.weights or "") if trial.result else ""
    if not path:
        return "–"
    return f"<a href='./{quote(path)}'>{escape(PurePosixPath(path).name)}</a>"


def _stopping(view: View) -> str:
    lines = describe_stopping(view)
    if not lines:
        return ""
    return section(
        "Stopping early",
        "Half-trained trials that are worse than others beyond noise end early. Some run on all "
        "the same and are audited: they tell how often that is wrong.",
        "".join(f"<p>{escape(line)}</p>" for line in lines),
    )


def _remarks(view: View) -> str:
    rows = [
        [str(trial.number), escape("; ".join(trial.remarks))]
        for _, trial in sorted(view.trials.items())
        if trial.remarks
    ]
    if not rows:
        return ""
    return section(
        "How trainings went",
        "A training ends early when its watched accuracy under attack no longer rises, or when "
        "its curriculum is through. One that overfits to its attack (catastrophic overfitting) "
        "stands against the single step it is trained with, and falls to PGD.",
        table("Remarks on trials", ["Trial", "Remark"], rows),
    )


def _failed(view: View) -> str:
    ended = [trial for state in ("failed", "stopped") for trial in view.in_state(state)]
    if not ended:
        return ""
    rows = [[str(t.number), t.state, str(len(t.epochs)), escape(t.reason or "–")] for t in ended]
    shown = table("Failed and stopped trials", ["Trial", "State", "Epochs", "Reason"], rows)
    return section("Trials without a result", "", shown)


def _care(view: View) -> str:
    attacks = "; ".join(_attack(attack) for attack in view.header.battery)
    details = [trial.result.details for trial in view.front() if trial.result]
    images = sorted({d.images for d in details if d.images is not None})
    votes = sorted({d.votes for d in details if d.random and d.votes is not None})
    name = quote(view.header.name or "NAME")
    member = view.front()[0].name if view.front() else "0003"
    command = f"python -m adv evaluate runs/{name}/front/{member}.safetensors --split test"
    fill: dict[str, Any] = {
        "battery": escape(attacks) or "not recorded",
        "images": f" ({_list(images)} images)" if images else "",
        "votes": f" Here {_list(votes)} draws vote." if votes else "",
    }
    judged = view.finals is not None and view.finals.in_state("finished")
    fill["publish"] = PUBLISHED if judged else PUBLISH.format(command=escape(command))
    return CARE.format_map(fill)


def _attack(attack: Mapping[str, Any]) -> str:
    """One attack of the battery in words: its name, then its settings."""
    said = [f"{attack[key]} {key}" for key in ("steps", "restarts") if attack.get(key) is not None]
    if (eps := attack.get("eps")) is not None:
        said.insert(0, f"eps {255 * eps:.3g}/255" if eps < 0.5 else f"eps {eps:.3g}")
    name = str(attack.get("name", "attack"))
    return f"{name} ({', '.join(said)})" if said else name


def duration(seconds: float) -> str:
    """Seconds in the unit that a reader would choose."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_flat(v)}" for k, v in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _list(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))
