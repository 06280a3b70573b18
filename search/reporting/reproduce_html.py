"""The last section of the HTML report: how to repeat the search, and how to read its numbers."""

from __future__ import annotations

from html import escape
from typing import Any

from adv.shape import format_shape
from adv.shell import join_command
from search.formatting import describe_score
from search.record.constraints import is_lower_bound
from search.record.repair import describe_repairs
from search.record.run_folder import FIGURES, LEDGER, PARQUET, STUDY
from search.record.study_header import StudyHeader
from search.reporting.html_template import command_line, fold, part, section, table
from search.reporting.page import Page
from search.reporting.reading_guide import reading_guide
from spaces import REPORT, SCALES, is_file, parse_threat_model


def reproduce_section(page: Page) -> list[str]:
    """Return the section with versions, hardware, seed, commit and command."""
    head = page.view.header
    rows = [[name, escape(flatten(value))] for name, value in _facts(page).items() if value]
    command, missing = join_command("python", "launch.py", *list_flags(head)), _missing(head)
    checkout = head.commit.rstrip("+") if head.commit else ""
    before = command_line(f"git checkout {checkout}") if checkout.isalnum() else ""
    said = f"<p class='note'>{escape(missing)}</p>" if missing else ""
    content = (
        before
        + command_line(command)
        + said
        + table("What the search ran with", ["What", "Value"], rows)
        + fold("How to read these numbers", reading_guide(page))
        + _files(page)
    )
    text = (
        "The same command, commit, versions and hardware give the same trials; other hardware or "
        "versions may change the last digits, and with them later proposals."
    )
    return [section("How to reproduce it", text, content, "reproduce")]


def _facts(page: Page) -> dict[str, Any]:
    view, head = page.view, page.view.header
    seeds = sorted({trial.seed for trial in view.trials.values()})
    return {
        "Commit": head.commit or "unknown",
        "Seed of the search": "" if head.seed is None else str(head.seed),
        "Seeds of the trials": f"{seeds[0]} to {seeds[-1]}" if seeds else "",
        "Versions": head.versions,
        "Hardware": head.hardware,
        "Data": f"{head.data or head.scale.get('data', '')} {head.data_fingerprint}".strip(),
        "Images": format_shape(head.image_shape) if head.shape else "",
        "Scale": head.scale,
        "Why this scale": head.scale_reason,
        "Score": describe_score(head.attacks, head.threat_model),
        "Final battery": view.finals_header.attacks if view.finals else "",
        "Sampler, stopper": ", ".join(filter(None, (head.sampler, head.stopper))),
        "Code of the user": head.sources or "",
        "Sessions": str(len(view.sessions)),
        "Changed later": "; ".join(flatten(s.changed) for s in view.sessions if s.changed),
        "Losses": " ".join(describe_repairs(view)),
    }


def _files(page: Page) -> str:
    names = {
        STUDY: "what was asked for",
        LEDGER: "all that happened",
        "trials.csv": "a row for each trial",
        PARQUET: "the same, with types",
        "front.csv": "a row for each net of the front",
        "finalists.csv": "a row for each finalist",
        "finals.csv": "a row for each final training",
        f"{FIGURES}/": "the main figures for papers, as PNG and SVG",
    }
    links = [
        f"<li><a href='./{name}'>{name}</a>: {what}</li>"
        for name, what in names.items()
        if (page.folder / name).exists()
    ]
    return part("Files beside this page", "", f"<ul>{''.join(links)}</ul>") if links else ""


def list_flags(head: StudyHeader) -> list[str]:
    """Return the flags of `launch.py` that begin the same search, as far as flags can say it."""
    kind = "--space-file" if is_file(head.space) else "--space"
    scale = head.scale
    flags = [kind, head.space or "NAME", "--scale", str(scale.get("name", "auto"))]
    if head.data:
        flags += ["--data", head.data]
    usual = SCALES.get(str(scale.get("name")))
    if size := scale.get("image_size"):
        own = usual.image_size if usual and usual.data == head.data else ""
        flags += [] if size == own else ["--image-size", str(size)]
    values = {"--trials": head.trials, "--epochs": scale.get("epochs"), "--seed": head.seed}
    values |= _battery(head)
    values |= {"--sampler": head.sampler, "--stopper": head.stopper, "--audit": head.audit}
    if head.objectives:
        values["--objectives"] = ",".join(head.objectives)
    flags += [text for flag, v in values.items() if v not in (None, "") for text in (flag, str(v))]
    for name, bound in (head.constraints or {}).items():
        flags += ["--constrain", f"{name}{'>' if is_lower_bound(name) else '<'}{bound:g}"]
    for setting in head.settings or ():
        flags += ["--set", setting]
    for run in head.warm.runs if head.warm else ():
        flags += ["--warm-from", run]
    return flags


def _battery(head: StudyHeader) -> dict[str, Any]:
    """Return the flags that name the attacks of the trials."""
    scale = head.scale
    found = {"--images": scale.get("images")}
    if head.threat_model != REPORT:
        found["--battery"] = head.threat_model
    try:
        takes_score = parse_threat_model(head.threat_model).takes_score
    except ValueError:  # of a newer program
        takes_score = False
    if takes_score:
        found |= {"--score": head.attacks, "--battery-steps": scale.get("battery_steps")}
    return found


def _missing(head: StudyHeader) -> str:
    """Return in words what the command leaves out; "" if it is whole."""
    left = []
    if head.net:
        left.append(f"the net (--net): {head.net}")
    if head.init:
        left.append(f"the initial weights (--init): {head.init}")
    if head.first:
        left.append(f"the configuration that came first (--near): {flatten(head.first)}")
    if head.commit and head.commit.endswith("+"):
        left.append("changes that were not in the commit")
    return f"Add what the command cannot say: {'; '.join(left)}." if left else ""


def flatten(value: Any) -> str:
    """Return a value of a header as text in one line."""
    if isinstance(value, dict):
        pairs = ((name, flatten(inner)) for name, inner in value.items())
        return ", ".join(f"{name} {text}" for name, text in pairs if text)
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
