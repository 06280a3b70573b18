"""The part of the HTML report on how to read its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from adv.intervals import smallest_visible_share
from adv.shell import join_command
from search.formatting import count
from search.record.run_folder import front_path
from search.record.trial_result import MaskingGap
from search.reporting.html_template import PUBLISH, PUBLISHED, READING_GUIDE
from search.reporting.page import Page
from spaces import FIRST_SCORE, parse_threat_model


def reading_guide(page: Page) -> str:
    """Return the part on data splits, attacks, masking gap, and which figures to publish."""
    view = page.view
    attacks = "; ".join(_describe_attack(attack) for attack in view.header.battery)
    details = [trial.result.details for trial in view.front() if trial.result]
    images = sorted({d.images for d in details if d.images is not None})
    votes = sorted({d.votes for d in details if d.random and d.votes is not None})
    member = page.members[0].file if page.members else front_path(3)
    weights = page.folder / member
    battery = _battery_flags(view.header.attacks, view.header.threat_model)
    trust = ("--trust-code",) if view.header.names_code else ()
    words = ("evaluate", weights, *trust, *battery, "--split", "test")
    command = join_command("python", "-m", "adv", *words)
    has_finals = view.finals is not None and view.finals.scored()
    values = {
        "score": escape(view.header.score),
        "battery": escape(attacks) or "not recorded",
        "images": f" ({_join(images)} images)" if images else "",
        "power": _describe_power([d.masking_gap for d in details if d.masking_gap]),
        "votes": f" Here {_join(votes)} forward passes vote." if votes else "",
        "publish": PUBLISHED if has_finals else PUBLISH.format(command=escape(command)),
    }
    return READING_GUIDE.format_map(values)


def _battery_flags(score: str, threat_model: str) -> tuple[str, ...]:
    """Return the flags of `python -m adv evaluate` that come nearest to a threat model."""
    try:
        model = parse_threat_model(threat_model)
    except ValueError:  # of a newer program
        return ()
    if model.kind == "report":
        return () if score == FIRST_SCORE else ("--battery", score)
    if model.kind == "own":
        return ("--battery", "autoattack")
    kind = "rand" if model.kind == "rand" else "autoattack"
    return ("--battery", kind, "--norm", model.norm, "--eps", f"{model.eps:.6g}")


def _describe_attack(attack: Mapping[str, Any]) -> str:
    """Return an attack of the battery as its name and settings."""
    settings = [count(attack[f"{k}s"], k) for k in ("step", "restart") if attack.get(f"{k}s")]
    if (eps := attack.get("eps")) is not None:
        pixels = eps < 0.5 and attack.get("norm", "Linf") == "Linf"
        settings.insert(0, f"eps {255 * eps:.3g}/255" if pixels else f"eps {eps:.3g}")
    if runs := attack.get("runs"):
        settings.append(count(len(runs), "run"))
    if second := attack.get("second"):
        settings.append(count(len(second), "second attack"))
    name = str(attack.get("name", "attack"))
    return f"{name} ({', '.join(settings)})" if settings else name


def _describe_power(gaps: Sequence[MaskingGap]) -> str:
    """Return in words which masking gap so many images cannot show; "" if none was measured."""
    known = [(gap.images, gap.limit) for gap in gaps if gap.images and gap.limit is not None]
    if not known:
        return ""
    images, limit = min(known)
    gap = 100 * smallest_visible_share(limit, images)
    return f" With {images} images a gap under {gap:.1f} points cannot be told from the limit."


def _join(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))
