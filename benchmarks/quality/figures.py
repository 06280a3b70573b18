"""The benchmark's rows as Markdown, and as a chart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, geometric_mean
from typing import Any

from quality.contest import ours
from search.replay.search_quality import mean_and_error

Row = Mapping[str, Any]
PARTS = (1 / 3, 2 / 3, 1.0)  # of the budget, at which the hypervolume is shown


def at(row: Row, spent: float) -> float:
    """The share of the hypervolume when so many epochs were spent."""
    return next((s for when, s in reversed(row["curve"]) if when <= spent), 0.0)


def to_mark(row: Row) -> float:
    """Epochs to 95 %; the whole budget where that was not enough, so it is a lower bound."""
    return float(row["epochs"] if row["epochs"] is not None else row["budget_epochs"])


def told(values: Sequence[float], digits: int = 3) -> str:
    """Mean and standard error."""
    mean, error = mean_and_error(values)
    return f"{mean:.{digits}f} ± {error:.{digits}f}"


def tables(rows: Sequence[Row]) -> Iterator[str]:
    """Lines of Markdown: a table for each problem, then the comparison with the best peer."""
    for problem, here in _by(rows, "problem").items():
        first = here[0]
        yield f"\n### {problem} ({first['group']})\n"
        yield (f"{first['workers']} workers, {first['budget']} trainings of "
               f"{first['budget_epochs'] // first['budget']} epochs\n")  # fmt: skip
        shares = " | ".join(f"HV at {part:.0%}" for part in PARTS)
        yield (f"| method | n | {shares} | epochs to 95 % | reached | truly on front | "
               "after finalists | stopped |")  # fmt: skip
        yield "|---|---|" + "---|" * (len(PARTS) + 5)
        groups = sorted(_by(here, "method").items(), key=lambda p: -fmean(r["share"] for r in p[1]))
        for name, these in groups:
            yield _line(name, these)


def _line(name: str, rows: Sequence[Row]) -> str:
    cells = [f"**{name}**" if ours(name) else name, str(len(rows))]
    cells += [told([at(r, part * r["budget_epochs"]) for r in rows]) for part in PARTS]
    reached = sum(r["epochs"] is not None for r in rows)
    cells.append(("" if reached == len(rows) else "> ") + told([to_mark(r) for r in rows], 0))
    cells.append(f"{reached}/{len(rows)}")
    cells += [told([r[key] for r in rows], 2) for key in ("precision", "finals")]
    done = sum(r["finished"] + r["stopped"] for r in rows)
    cells.append(f"{sum(r['stopped'] for r in rows) / max(1, done):.0%}")
    return "| " + " | ".join(cells) + " |"


def comparison(rows: Sequence[Row], ours_: str) -> Iterator[str]:
    """Lines of Markdown: our method beside the best peer of each problem."""
    yield f"\n### {ours_} beside the best peer of each problem\n"
    yield ("| problem | best peer by HV | its HV | ours | difference | best peer to 95 % | "
           "its epochs | ours | ratio | ours has the first one's HV |")  # fmt: skip
    yield "|---|---|---|---|---|---|---|---|---|---|"
    ratios: dict[str, list[float]] = defaultdict(list)
    for problem, here in _by(rows, "problem").items():
        methods = _by(here, "method")
        peers = {name: these for name, these in methods.items() if not ours(name)}
        if ours_ not in methods or not peers:
            continue
        mine = methods[ours_]
        best = max(peers, key=lambda name: fmean(r["share"] for r in peers[name]))
        fast = min(peers, key=lambda name: fmean(map(to_mark, peers[name])))
        (a, ea), (b, eb) = (mean_and_error([r["share"] for r in x]) for x in (mine, peers[best]))
        ratio = fmean(map(to_mark, peers[fast])) / fmean(map(to_mark, mine))
        ratios[here[0]["group"]].append(ratio)
        sooner = _reaches(mine, b)
        late = any(r["epochs"] is None for r in peers[fast])
        yield (f"| {problem} | {best} | {b:.3f} ± {eb:.3f} | {a:.3f} ± {ea:.3f} | "
               f"{a - b:+.3f} ± {(ea**2 + eb**2) ** 0.5:.3f} | {fast} | "
               f"{'> ' if late else ''}{told([to_mark(r) for r in peers[fast]], 0)} | "
               f"{told([to_mark(r) for r in mine], 0)} | {ratio:.2f} | {sooner} |")  # fmt: skip
    for group, found in ratios.items():
        mean = geometric_mean(found)
        yield f"\nEpochs to 95 %, {group}: the best peer needs {mean:.2f} times ours"
    if ratios:
        everything = [r for found in ratios.values() for r in found]
        yield f"\nMean over problems (geometric): {geometric_mean(everything):.2f} times\n"


def _reaches(rows: Sequence[Row], share: float) -> str:
    """After how many epochs the rows' mean share is first `share`, and the budget over that."""
    budget = rows[0]["budget_epochs"]
    steps = sorted({when for row in rows for when, _ in row["curve"]})
    first = next((x for x in steps if fmean(at(row, x) for row in rows) >= share), None)
    return "not" if first is None else f"at {first} epochs, {budget / first:.2f} times sooner"


def _by(rows: Sequence[Row], key: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row[key]].append(row)
    return dict(found)


def chart(rows: Sequence[Row], path: str) -> None:
    """Hypervolume against spent epochs, a panel for each problem, as an HTML page."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    problems = _by(rows, "problem")
    figure = make_subplots(len(problems), 1, subplot_titles=list(problems))
    for line, here in enumerate(problems.values(), 1):
        for name, these in _by(here, "method").items():
            end = these[0]["budget_epochs"]
            steps = [end * i / 50 for i in range(51)]
            means = [mean_and_error([at(r, x) for r in these])[0] for x in steps]
            figure.add_trace(
                go.Scatter(x=steps, y=means, name=name, legendgroup=name, showlegend=line == 1),
                line,
                1,
            )
        figure.update_xaxes(title="epochs spent", row=line, col=1)
        figure.update_yaxes(title="share of the hypervolume", row=line, col=1)
    figure.update_layout(height=420 * len(problems))
    figure.write_html(path, include_plotlyjs="cdn")
