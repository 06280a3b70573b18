"""The rows of the benchmark as Markdown, and as a chart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, geometric_mean
from typing import Any

from quality.contest import parse_own_method
from search.replay.search_quality import mean_and_error

Row = Mapping[str, Any]
BUDGET_SHARES = (1 / 3, 2 / 3, 1.0)  # at which the hypervolume is shown


def share_after(row: Row, spent: float) -> float:
    """Return the hypervolume share after so many epochs."""
    return next((s for when, s in reversed(row["curve"]) if when <= spent), 0.0)


def epochs_to_target(row: Row) -> float:
    """Return the epochs to 95 %; if they were not reached the budget, as a lower bound."""
    return float(row["epochs"] if row["epochs"] is not None else row["budget_epochs"])


def format_mean(values: Sequence[float], digits: int = 3) -> str:
    """Return mean ± standard error."""
    mean, error = mean_and_error(values)
    return f"{mean:.{digits}f} ± {error:.{digits}f}"


def problem_tables(rows: Sequence[Row]) -> Iterator[str]:
    """Yield lines of Markdown: a table for each problem."""
    for problem, here in _by(rows, "problem").items():
        first = here[0]
        yield f"\n### {problem} ({first['group']})\n"
        yield (
            f"{first['workers']} workers, {first['budget']} trainings of "
            f"{first['budget_epochs'] // first['budget']} epochs\n"
        )
        shares = " | ".join(f"HV at {part:.0%}" for part in BUDGET_SHARES)
        yield (
            f"| method | n | {shares} | epochs to 95 % | reached | truly on front | "
            "after finals | recall | stopped |"
        )
        yield "|---|---|" + "---|" * (len(BUDGET_SHARES) + 6)
        groups = sorted(_by(here, "method").items(), key=lambda p: -fmean(r["share"] for r in p[1]))
        for name, these in groups:
            yield _line(name, these)


def _line(name: str, rows: Sequence[Row]) -> str:
    cells = [f"**{name}**" if parse_own_method(name) else name, str(len(rows))]
    cells += [
        format_mean([share_after(r, part * r["budget_epochs"]) for r in rows])
        for part in BUDGET_SHARES
    ]
    reached = sum(r["epochs"] is not None for r in rows)
    cells.append(
        ("" if reached == len(rows) else "> ") + format_mean([epochs_to_target(r) for r in rows], 0)
    )
    cells.append(f"{reached}/{len(rows)}")
    for key in ("precision", "finals", "recall"):
        known = [r[key] for r in rows if key in r]  # earlier versions wrote no recall
        cells.append(format_mean(known, 2) if known else "–")
    done = sum(r["finished"] + r["stopped"] for r in rows)
    cells.append(f"{sum(r['stopped'] for r in rows) / max(1, done):.0%}")
    return "| " + " | ".join(cells) + " |"


def comparison(rows: Sequence[Row], ours: str) -> Iterator[str]:
    """Yield lines of Markdown: our method beside the best peer of each problem."""
    yield f"\n### {ours} beside the best peer of each problem\n"
    yield (
        "| problem | best peer by HV | its HV | ours | difference | best peer to 95 % | "
        "its epochs | ours | ratio | ours has the first one's HV |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    ratios: dict[str, list[float]] = defaultdict(list)
    for problem, here in _by(rows, "problem").items():
        methods = _by(here, "method")
        peers = {name: these for name, these in methods.items() if not parse_own_method(name)}
        if ours in methods and peers:
            line, ratio = _compare_with_peers(problem, methods[ours], peers)
            ratios[here[0]["group"]].append(ratio)
            yield line
    for group, found in ratios.items():
        mean = geometric_mean(found)
        yield f"\nEpochs to 95 %, {group}: the best peer needs {mean:.2f} times ours"
    if ratios:
        everything = [r for found in ratios.values() for r in found]
        yield f"\nMean over problems (geometric): {geometric_mean(everything):.2f} times\n"


def _compare_with_peers(
    problem: str, ours: Sequence[Row], peers: Mapping[str, Sequence[Row]]
) -> tuple[str, float]:
    """Return a row of the comparison, and how many times more epochs the fastest peer needs."""
    best = max(peers, key=lambda name: fmean(r["share"] for r in peers[name]))
    fastest = min(peers, key=lambda name: fmean(map(epochs_to_target, peers[name])))
    (a, ea), (b, eb) = (mean_and_error([r["share"] for r in x]) for x in (ours, peers[best]))
    our_epochs, their_epochs = ([epochs_to_target(r) for r in x] for x in (ours, peers[fastest]))
    ratio = fmean(their_epochs) / fmean(our_epochs)
    lower_bound = "> " if any(r["epochs"] is None for r in peers[fastest]) else ""
    cells = (
        problem,
        best,
        f"{b:.3f} ± {eb:.3f}",
        f"{a:.3f} ± {ea:.3f}",
        f"{a - b:+.3f} ± {(ea**2 + eb**2) ** 0.5:.3f}",
        fastest,
        lower_bound + format_mean(their_epochs, 0),
        format_mean(our_epochs, 0),
        f"{ratio:.2f}",
        _reaches(ours, b),
    )
    return f"| {' | '.join(cells)} |", ratio


def _reaches(rows: Sequence[Row], share: float) -> str:
    """Return after how many epochs the mean share reaches `share`, and the budget over that."""
    budget = rows[0]["budget_epochs"]
    steps = sorted({when for row in rows for when, _ in row["curve"]})
    first = next((x for x in steps if fmean(share_after(row, x) for row in rows) >= share), None)
    return "not" if first is None else f"at {first} epochs, {budget / first:.2f} times sooner"


def _by(rows: Sequence[Row], key: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row[key]].append(row)
    return dict(found)


def chart(rows: Sequence[Row], path: str) -> None:
    """Write hypervolume against epochs spent, a panel for each problem, as an HTML page."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    problems = _by(rows, "problem")
    figure = make_subplots(len(problems), 1, subplot_titles=list(problems))
    for line, here in enumerate(problems.values(), 1):
        for name, these in _by(here, "method").items():
            end = these[0]["budget_epochs"]
            steps = [end * i / 50 for i in range(51)]
            means = [mean_and_error([share_after(r, x) for r in these])[0] for x in steps]
            figure.add_trace(
                go.Scatter(x=steps, y=means, name=name, legendgroup=name, showlegend=line == 1),
                line,
                1,
            )
        figure.update_xaxes(title="epochs spent", row=line, col=1)
        figure.update_yaxes(title="share of the hypervolume", row=line, col=1)
    figure.update_layout(height=420 * len(problems))
    figure.write_html(path, include_plotlyjs="cdn")
