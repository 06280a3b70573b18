"""The W&B report of a search, which a link shows to others; built without an account.

It holds the same panels as the saved view, between the sentences of our own report.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from search.finals.finalist import Finalist
from search.finals.verdict import reach_verdict
from search.formatting import count, describe_score
from search.record.view import View
from search.reporting.verdict_text import describe_verdict
from search.stopping.audit import describe_stopping
from search.tracking.standing import Standing
from search.tracking.wandb_view import Part, Place, build_parts, load_classes


def build_report(
    view: View, finalists: Sequence[Finalist], standing: Standing, place: Place
) -> Any:
    """Return the report of a search as a `wandb_workspaces.reports.v2.Report`.

    Args:
      view: of the search.
      finalists: from `compute_standings`.
      standing: of its nets.
      place: of its runs.
    """
    wr, _ = load_classes()
    return wr.Report(
        entity=place.entity,
        project=place.project,
        title=(view.header.name or place.study)[:128],
        description=view.header.question,
        width="fluid",
        blocks=[
            *_summary(wr, view, standing, place),
            wr.TableOfContents(),
            *(
                block
                for part in build_parts(view, finalists)
                for block in _part(wr, part, view, place)
            ),
            *_reproduction(wr, view),
        ],
    )


def _summary(wr: Any, view: View, standing: Standing, place: Place) -> list[Any]:
    """Return the verdict, and the recommended nets with the names of their artifacts."""
    verdict = reach_verdict(view)
    lines = describe_verdict(view, verdict) if verdict else ["No trial has a result yet."]
    nets = [
        f"{role}: trial {number}, artifact {place.study}-{number:04d}-net:{role}"
        for number, roles in standing.roles.items()
        for role in roles
    ]
    blocks = [wr.P(line) for line in lines]
    return [*blocks, *([wr.H2("Recommended nets"), wr.UnorderedList(nets)] if nets else [])]


def _part(wr: Any, part: Part, view: View, place: Place) -> list[Any]:
    """Return a section: heading, sentences, the panels of the search and those of its trials."""
    blocks = [wr.H2(part.title), wr.P(part.text)]
    if part.title == "Early stopping":
        blocks += [wr.P(line) for line in describe_stopping(view)]
    for panels, jobs, name in (
        (part.panels, "== 'study'", "the search"),
        (part.trial_panels, "== 'trial'", "its trials"),
        (part.net_panels, "!= 'study'", "its trainings"),
    ):
        if panels:
            runs = _runset(wr, place, jobs, name)
            blocks.append(wr.PanelGrid(runsets=[runs], panels=list(panels)))
    return blocks


def _runset(wr: Any, place: Place, jobs: str, name: str) -> Any:
    """Return the runs of a search that are of some kinds."""
    chosen = f"Metric('Group') == '{place.study}' and Metric('JobType') {jobs}"
    return wr.Runset(entity=place.entity, project=place.project, name=name, filters=chosen)


def _reproduction(wr: Any, view: View) -> list[Any]:
    """Return what the search ran with."""
    head = view.header
    versions = ", ".join(f"{name} {version}" for name, version in head.versions.items())
    facts = {
        "Space": head.space,
        "Data": head.data,
        "Scale": str(head.scale.get("name", "")),
        "Score": describe_score(head.attacks, head.threat_model),
        "Trials": f"{count(len(view.trials), 'trial')}, seed {head.seed}",
        "Commit": head.commit or "unknown",
        "Versions": versions,
        "Hardware": str(head.hardware or ""),
    }
    lines = [f"{name}: {text}" for name, text in facts.items() if text]
    return [wr.H2("How to repeat it"), wr.UnorderedList(lines)]
