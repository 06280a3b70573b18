"""The saved view of a search in W&B, built without an account."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from search.finals.finalist import Finalist
from search.record.view import View
from search.tracking.wandb_sections import build_parts, load_classes


@dataclass(frozen=True)
class Place:
    """Where the runs of a search are in W&B.

    Args:
      entity: team or user.
      project: of the runs.
      study: the group of the runs, see `tracker.study_id`.
    """

    entity: str
    project: str
    study: str


def build_workspace(view: View, finalists: Sequence[Finalist], place: Place) -> Any:
    """Return the workspace of a search as a `wandb_workspaces.workspaces.Workspace`.

    Args:
      view: of the search.
      finalists: from `compute_standings`.
      place: of its runs.
    """
    wr, ws = load_classes()
    columns = [f"summary:{name}" for name in view.header.aims]
    columns += ["summary:on_front", "summary:roles", "summary:marks", "summary:state"]
    return ws.Workspace(
        entity=place.entity,
        project=place.project,
        name=view.header.name or place.study,
        sections=[
            ws.Section(
                name=part.title,
                panels=[wr.MarkdownPanel(part.text), *part.all_panels],
                is_open=True,
            )
            for part in build_parts(view, finalists)
        ],
        runset_settings=ws.RunsetSettings(
            filters=f"Metric('Group') == '{place.study}'", pinned_columns=columns
        ),
        settings=ws.WorkspaceSettings(max_runs=50),
    )
