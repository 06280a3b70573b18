"""Numbers, times and configurations as text."""

from __future__ import annotations

from typing import Any

from spaces import REPORT, SCORES, Params, find_objective, parse_threat_model


def objective_title(name: str) -> str:
    """Return an objective's name with spaces."""
    return name.replace("_", " ")


def describe_score(score: str, threat_model: str = REPORT) -> str:
    """Return the name of a score and its attacks in words.

    Args:
      score: a name in `spaces.SCORES`, or one of a newer program.
      threat_model: as `--battery` takes it.
    """
    attacks = f": {SCORES[score]}" if score in SCORES else ""
    if threat_model == REPORT:
        return f"{score}{attacks}, at six radii" if attacks else score
    if parse_threat_model(threat_model).takes_score:
        return f"{score}{attacks}, at {threat_model}"
    return threat_model


def format_objective(name: str, number: float) -> str:
    """Return an objective in its unit: accuracies in percent, the score as a sum of percentages."""
    return find_objective(name).format(number)


def format_interval(name: str, value: float, interval: tuple[float, float] | None) -> str:
    """Return an objective with its interval, if that is known: 93.9 % (91.8 to 96.0)."""
    text = format_objective(name, value)
    if interval is None:
        return text
    low, high = (format_objective(name, end).removesuffix(" %") for end in interval)
    return f"{text} ({low} to {high})"


def shown(name: str, maximised: float) -> float:
    """Return a value of which larger is better in the unit in which its objective is shown."""
    one = find_objective(name)
    return one.shown * one.sign * maximised


def format_value(value: Any) -> str:
    """Return a hyperparameter's value with at most 4 significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def format_params(params: Params) -> str:
    """Return a configuration in one line."""
    return " ".join(f"{name}={format_value(value)}" for name, value in params.items())


def format_clock(seconds: float) -> str:
    """Return seconds as 1:02:03 or 2:03."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def format_duration(seconds: float) -> str:
    """Return seconds as 1 h 02 min, 2 min 03 s or 4 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def count(number: float, noun: str) -> str:
    """Return a number with its noun: 1 trial, 2 trials, 0.5 CPUs."""
    digits = f"{number:g}" if isinstance(number, float) else f"{number}"
    return f"{digits} {noun}{'s' * (number != 1)}"
