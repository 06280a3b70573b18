"""The header of a new ledger, made from a plan, and the sampler that a header describes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from adv import Data, Linf, OwnAttack, Worst
from adv.attacks.composite import members
from adv.attacks.settings import format_settings
from adv.user_code import hash_source, named_files
from search.record.constraints import make_screen
from search.record.ledger import FORMAT
from search.record.provenance import read_commit, read_hardware, read_versions
from search.record.study_header import StudyHeader
from search.samplers.sampler import Sampler
from search.samplers.table import initial_design_size, make_sampler
from search.session.plan import Plan
from spaces import OBJECTIVES, Scale, Space


def configure_sampler(space: Space, header: StudyHeader) -> Sampler:
    """Return the sampler that a header names, with its first points and its constraints."""
    return make_sampler(
        header.sampler or "tpe",
        space,
        seed=header.seed or 0,
        start=header.start or 0,
        header=header,
        allowed=make_screen(space, header.constraints or {}, header.classes, header.image_shape),
    )


def make_header(plan: Plan, data: Data, study: str, checksums: Mapping[str, str]) -> StudyHeader:
    """Return the header of a ledger: all that is needed to repeat or resume the search.

    Args:
      plan: of the search.
      data: what the trials are trained and scored on.
      study: a new id.
      checksums: of code and weights from elsewhere, see `search.session.parts`.
    """
    baseline = plan.space.baseline
    elsewhere = {name: repr(part) for name, part in plan.parts.items()}
    header = StudyHeader(
        format=FORMAT,
        id=study,
        name=plan.name,
        space=plan.space_name,
        question=plan.space.question,
        knobs=plan.space.describe(),
        fingerprint=plan.space.fingerprint,
        scale=asdict(plan.scale),
        scale_reason=plan.reason,
        data=plan.data,
        data_fingerprint=data.fingerprint,
        classes=len(data.classes),
        shape=data.shape,
        battery=describe_battery(plan.scale),
        trials=plan.trials,
        seed=plan.seed,
        start=initial_design_size(plan.space, plan.trials),
        sampler=plan.sampler,
        stopper=plan.stopper,
        audit=plan.audit,
        constraints=dict(plan.constraints),
        versions=read_versions(),
        commit=read_commit(),
        hardware=read_hardware(),
        objectives=None if plan.objectives == OBJECTIVES else plan.objectives,
        settings=plan.settings or None,
        first=plan.first,
        sources=sources(),
        baseline=dict(baseline.params) if baseline else {},
        baseline_name=baseline.name if baseline else "",
    )
    return header.merge({**elsewhere, **checksums})


def sources() -> dict[str, str] | None:
    """Return the hash of each file of code that the user has named, by its path."""
    return {file: hash_source(file) for file in named_files()} or None


def describe_battery(scale: Scale) -> list[dict[str, Any]]:
    """Return the attacks that score a trial, as plain data.

    The key "second" lists those that a deterministic net meets in the same ball afterwards.
    """
    battery = scale.battery()
    rows = []
    for name, attack in battery.attacks:
        row: dict[str, Any] = {"name": name}
        if not isinstance(attack.ball, Linf):
            row["norm"] = type(attack.ball).__name__
        row |= {"eps": attack.ball.eps, **_settings(attack)}
        second = [format_settings(one) for one in battery.second_attacks if one.ball == attack.ball]
        rows.append(row | ({"second": second} if second else {}))
    return rows


def _settings(attack: Any) -> dict[str, Any]:
    if isinstance(attack, Worst):
        return {"runs": [format_settings(member) for member in members(attack)]}
    if isinstance(attack, OwnAttack):
        return {"own": attack.name}
    return {key: value for key, value in asdict(attack).items() if key != "ball"}
