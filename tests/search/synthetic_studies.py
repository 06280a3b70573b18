"""Synthetic studies: ledger events in the form of a real search, for tests of their readers."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from typing import Any

from search.record.view import View
from spaces import OBJECTIVES

EPS = (2 / 255, 4 / 255, 8 / 255, 16 / 255)
KNOBS: dict[str, dict[str, Any]] = {
    "model": {"kind": "Choice", "options": ["resnet8", "vit"], "when": {}},
    "lr": {"kind": "Float", "low": 1e-3, "high": 1.0, "log": True, "when": {}},
    "sigma": {"kind": "Float", "low": 0.0, "high": 0.3, "log": False, "when": {}},
    "depth": {"kind": "Int", "low": 2, "high": 8, "log": False, "when": {"model": "vit"}},
    "augment": {"kind": "Choice", "options": [True, False], "when": {}},
}


def header(name: str = "rse_sigmas-1", trials: int = 16, **extra: Any) -> dict[str, Any]:
    """Return the first event of a study."""
    battery = [{"name": f"pgd-{e * 255:.0f}", "eps": e, "steps": 20, "restarts": 2} for e in EPS]
    return {
        "event": "study",
        "time": 1_700_000_000.0,
        "format": 1,
        "id": "5f2c9a",
        "name": name,
        "space": "rse_sigmas",
        "question": "How much noise does a random self-ensemble need?",
        "knobs": KNOBS,
        "fingerprint": "0123456789ab",
        "scale": {"name": "laptop", "data": "digits", "epochs": 12, "trials": trials},
        "data": "digits",
        "classes": 10,
        "battery": battery,
        "trials": trials,
        "seed": 0,
        "versions": {"python": "3.12.1", "torch": "2.11.0"},
        "commit": "c0ffee1",
        "hardware": "2 CPU cores",
        "options": {},
        **extra,
    }


def events(
    trials: int = 16, failed: int = 3, epochs: int = 12, head: Mapping[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the events of a whole study; every fifth trial fails, `failed` times."""
    rng, now = random.Random(7), 1_700_000_000.0
    yield dict(head or header(trials=trials))
    yield {"event": "session", "time": now}
    for number in range(trials):
        fails = number % 5 == 4 and number // 5 < failed
        params: dict[str, Any] = {
            "model": rng.choice(["resnet8", "vit"]),
            "lr": 10 ** rng.uniform(-3, 0),
            "sigma": rng.uniform(0, 0.3),
        }
        if params["model"] == "vit":
            params["depth"] = rng.randint(2, 8)
        params["augment"] = rng.random() < 0.5
        yield {
            "event": "proposed",
            "time": now,
            "trial": number,
            "params": params,
            "seed": 1000 + number,
            "origin": "known" if number == 0 else "sampler",
        }
        score = _worth(params)
        for epoch in range(1, (epochs // 3 if fails else epochs) + 1):
            now += 1.0
            yield _epoch(number, epoch, epochs, now, score)
        if fails:
            reason = "loss is <nan> & not a number\nin epoch 4"
            yield {"event": "failed", "time": now, "trial": number, "reason": reason}
        else:
            yield {"event": "finished", "time": now, "trial": number, **_result(number, score)}


def stopped_events(first: int) -> Iterator[dict[str, Any]]:
    """Yield the events of two trials: one is stopped at a rung, one runs on as a check."""
    now = 1_700_000_500.0
    for number, action in ((first, "stop"), (first + 1, "audit")):
        score = (0.7, 30.0)
        rung = {"natural_accuracy": 0.5, "attacked_score": 60.0}
        params = {"model": "resnet8", "lr": 0.1, "sigma": 0.1, "augment": True}
        parts: list[dict[str, Any]] = [
            {"event": "proposed", "params": params, "seed": 1000 + number, "origin": "sampler"},
            _epoch(number, 1, 3, now, score),
            {
                "event": "rung",
                "epoch": 1,
                "strength": 1.0,
                "objectives": rung,
                "sds": dict.fromkeys(rung, 0.01),
                "table": None,
                "action": action,
                "reason": "behind trial 0 in both",
            },
        ]
        if action == "stop":
            parts.append({"event": "stopped", "reason": "behind trial 0 in both"})
        else:
            parts += [_epoch(number, n, 3, now, score) for n in (2, 3)]
            parts.append({"event": "finished", **_result(number, score)})
        for part in parts:
            now += 1.0
            yield {**part, "trial": number, "time": now}


def final_events(numbers: tuple[int, ...] = (0, 1, 0), epochs: int = 3) -> Iterator[dict[str, Any]]:
    """Yield the events of the finals of such a study; the last training fails."""
    now = 1_700_001_000.0
    yield {
        "event": "finals",
        "time": now,
        "trials": sorted(set(numbers)),
        "trainings": 3,
        "battery": "b1",
        "images": 500,
        "attacks": "AutoAttack's line-up",
    }
    for number, of in enumerate(numbers):
        score = (0.8 + 0.05 * of + 0.01 * number, 20.0)
        parts: list[dict[str, Any]] = [
            {
                "event": "proposed",
                "trial": number,
                "params": {"lr": 0.1},
                "seed": 5000 + number,
                "origin": str(of),
            },
            *(_epoch(number, epoch, epochs, now, score) for epoch in range(1, epochs + 1)),
        ]
        if number == len(numbers) - 1:
            parts.append({"event": "failed", "trial": number, "reason": "it broke"})
        else:
            made = _result(number, score)
            made["details"] |= {
                "battery": "b1",
                "validation": made["objectives"],
                "claimed": made["objectives"],
            }
            parts.append({"event": "finished", "trial": number, **made})
        for part in parts:
            now += 1.0
            yield {"event": "final", "time": now, "part": part}


def build(trials: int = 16, failed: int = 3, epochs: int = 12, **extra: Any) -> View:
    """Return the view of such a study."""
    view = View()
    for event in events(trials, failed, epochs, header(trials=trials, **extra)):
        view.apply(event)
    return view


def _worth(params: Mapping[str, Any]) -> tuple[float, float]:
    """Return natural accuracy, and how fast accuracy falls with eps; sigma trades them off."""
    fit = 1 - 0.02 * abs(math.log10(params["lr"]) + 1.3) - (0.01 if params["augment"] else 0)
    return fit * (0.97 - 1.1 * params["sigma"]), 4 + 140 * (0.3 - params["sigma"])


def _epoch(
    number: int, epoch: int, epochs: int, now: float, score: tuple[float, float]
) -> dict[str, Any]:
    robust = score[0] * math.exp(-score[1] * EPS[2]) * (1 - math.exp(-epoch / 2.5))
    robust -= 0.004 * max(0, epoch - 8) * (number % 3)
    metrics = {
        "loss": 2.3 / math.sqrt(epoch),
        "train_accuracy": score[0] * (1 - math.exp(-epoch / 2)),
        "eps": EPS[2] * min(1, epoch / 4),
        "steps": 7,
        "watched_robust": robust,
        "watched_natural": score[0] * (1 - math.exp(-epoch / 2)),
    }
    return {
        "event": "epoch",
        "time": now,
        "trial": number,
        "epoch": epoch,
        "epochs": epochs,
        "seconds": 1.25,
        "metrics": metrics,
    }


def _result(number: int, score: tuple[float, float], images: int = 500) -> dict[str, Any]:
    curve = []
    for eps in (0.0, *EPS):
        p = score[0] * math.exp(-score[1] * eps)
        half = 1.96 * math.sqrt(p * (1 - p) / images)
        curve.append([eps, p, max(0.0, p - half), min(1.0, p + half)])
    attacked = [100 * row[1] for row in curve[1:]]
    objectives = {"natural_accuracy": score[0], "attacked_score": sum(attacked)}
    return {
        "objectives": objectives,
        "intervals": {
            "natural_accuracy": curve[0][2:],
            "attacked_score": [sum(attacked) - 6.0, sum(attacked) + 6.0],
        },
        "details": {
            "curve": curve,
            "worst": attacked[-1] / 100,
            "mean": sum(attacked) / len(attacked) / 100,
            "aurc": 0.5,
            "images": images,
            "votes": 5,
            "random": True,
            "best_epoch": 8 if number % 3 else 12,
            "last": objectives,
            "parameters": 77_850,
            "masking_gap": {
                "eps": EPS[2],
                "claimed": attacked[2] / 100,
                "strong": attacked[2] / 100 - 0.02 - 0.1 * (number == 2),
                "interval": [0.01 + 0.1 * (number == 2), 0.04 + 0.1 * (number == 2)],
                "images": 50,
                "gap": 0.02 + 0.1 * (number == 2),
                "flagged": number == 2,
            },
            "weights": f"trials/{number:04d}/best.safetensors",
            "evaluate_seconds": 2.5,
        },
    }


def make_view(
    points: list[tuple[float, float]],
    half: tuple[float, float] = (0.001, 0.1),
    aims: tuple[str, str] = OBJECTIVES,
    **details: Any,
) -> View:
    """Return a search whose trials have these values in its objectives, without image tables."""
    view = View()
    view.apply(header(trials=len(points), objectives=list(aims), classes=0))
    view.apply({"event": "session", "time": 0.0})
    for number, point in enumerate(points):
        values = {"natural_accuracy": 0.5, "attacked_score": 100.0} | dict(
            zip(aims, point, strict=True)
        )
        intervals = {n: [v - h, v + h] for n, v, h in zip(aims, point, half, strict=True)}
        started = {"params": {"lr": 0.1 + number}, "seed": number, "origin": "sobol"}
        view.apply({"event": "proposed", "time": 0.0, "trial": number, **started})
        made = {"objectives": values, "intervals": intervals, "aims": list(aims)}
        found = {"details": {"images": 500, **details}}
        view.apply({"event": "finished", "time": 1.0, "trial": number, **made, **found})
    return view
