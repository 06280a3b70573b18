"""The W&B report of a search, which a link shows to others; built without an account.

It holds the same panels as the saved view, between the sentences of our own report.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adv.shell import join_command
from search.finals.finalist import Finalist
from search.formatting import count, describe_score
from search.outcome.outcome import Outcome, find_outcome
from search.outcome.roles import Role
from search.record.view import View
from search.reporting.recommendation import describe_roles
from search.reporting.verdict_text import describe_verdict
from search.stopping.audit import describe_stopping
from search.tracking.run_records import run_key
from search.tracking.wandb_sections import Part, build_parts, load_classes
from search.tracking.wandb_view import Place


def build_report(view: View, finalists: Sequence[Finalist], folder: Path, place: Place) -> Any:
    """Return the report of a search as a `wandb_workspaces.reports.v2.Report`.

    Args:
      view: of the search.
      finalists: from `compute_standings`.
      folder: of the run, for the commands.
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
            *_summary(wr, view, find_outcome(view, folder, finalists), place),
            wr.TableOfContents(),
            *(
                block
                for part in build_parts(view, finalists)
                for block in _part(wr, part, view, place)
            ),
            *_reproduction(wr, view),
        ],
    )


def _summary(wr: Any, view: View, outcome: Outcome, place: Place) -> list[Any]:
    """Return the caveat if there is one, the verdict, and the recommended nets with commands."""
    blocks: list[Any] = []
    if outcome.caveat:
        blocks.append(wr.P(outcome.caveat.text))
        if outcome.caveat.command:
            blocks.append(wr.CodeBlock(outcome.caveat.command, language=None))
    verdict = outcome.verdict
    lines = describe_verdict(view, verdict) if verdict else ["No trial has a result yet."]
    blocks += [wr.P(line) for line in (*lines, outcome.front.describe())]
    by_net: dict[int, list[Role]] = {}
    for role in outcome.roles:
        by_net.setdefault(role.member.number, []).append(role)
    if by_net:
        blocks.append(wr.H2("Recommended nets"))
    for roles in by_net.values():
        blocks.append(wr.UnorderedList([line.strip() for line in describe_roles(roles)]))
        blocks.append(wr.CodeBlock(_commands(roles[0], view, place), language=None))
    return blocks


def _commands(role: Role, view: View, place: Place) -> str:
    """Return the commands that fetch a net from W&B and evaluate it on the test split."""
    key = run_key(place.study, role.member.net, final=role.member.is_final)
    name = f"{place.entity}/{place.project}/{key}-net:{role.slug}"
    trust = ["--trust-code"] if view.header.names_code else []
    evaluate = ("python", "-m", "adv", "evaluate", f"nets/{key}.safetensors", "--split", "test")
    fetch = join_command("wandb", "artifact", "get", name, "--root", "nets")
    return f"{fetch}\n{join_command(*evaluate, *trust)}"


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
