"""The template of the HTML report, and its sections, figures and tables as HTML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from search.record.run_files import is_inside
from spaces import find_objective

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data: blob:;
 style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<link rel="icon" href="data:,">
<title>{{title}}</title>
<style>
{{style}}</style>
</head>
<body>
{{body}}
<script type="application/json" id="run-data">{{data}}</script>
{{plotly}}
<script>
"use strict";
{
{{script}}}
</script>
</body>
</html>
"""

READING_GUIDE = """<h3>How to read these numbers</h3>
<p><b>Held out, but selected on.</b> The values of trials are from the validation split{images};
only finalists meet the test split. A trial keeps its best epoch, and the front keeps the best
trials, both selected on held-out images, so a front member looks slightly better than it is. Two
trials whose intervals overlap may be equally good.</p>
<p><b>The attacks.</b> The attacked score, here the {score} score, is the sum of the accuracies, in
percent points, under: {battery}. Each of them is an upper bound on robustness: a stronger attack
may find more.</p>
<p><b>The masking gap.</b> By how much a stronger attack with another loss lowers the accuracy at
one radius. Of the images that a stronger attack fools the attacks of the margin score miss hardly
any, and plain PGD misses more the less sure a net is.{power} A trial is flagged if the whole
interval is above 5 % of those (report score: what is expected at the net's mean confidence, 14 to
47 %), or if its gradient is not the slope of its outputs: its net may mask its gradients instead of
being robust, and its score should not be trusted before <code>python -m adv audit</code> has
checked it.</p>
<p><b>Random nets.</b> A net that samples random numbers is scored by the vote of several forward
passes, and attacked by the mean gradient of several (expectation over transformation).{votes}
Otherwise randomness hides the gradient and the score is too optimistic.</p>
{publish}
<p>The glossary of the project explains the words of this page:
<code>docs/glossary.md</code>.</p>"""

PUBLISH = """<p><b>The figures to publish</b> are from the test split, evaluated once, for the
trial that you have selected:</p>
<pre><code>{command}</code></pre>"""

PUBLISHED = """<p><b>The figures to publish</b> are the finalists' means with their intervals, under
the final battery: neither those seeds nor the test images were used to select anything.</p>"""


# The parts of the page's script, which share one scope; each uses those before it, when it runs.
SCRIPTS = (
    *("data.js", "figures.js", "net_curves.js", "net_examples.js", "chosen_net.js"),
    *("all_trials.js", "start.js"),
)
_NO_NETS: Mapping[str, Any] = {"trials": [], "front": [], "families": {}, "knobs": []}


def render_page(
    title: str, body: str, data: Mapping[str, Any] | None = None, *, figures: bool = True
) -> str:
    """Return a whole page, which loads nothing from outside.

    Args:
      title: of the page, as text.
      body: its content, as HTML.
      data: what the script knows of nets (`page_data`); None: there are none to choose.
      figures: whether it has any: plotly.js takes 4.7 MB.
    """
    parts = {
        "title": escape(title),
        "style": read_asset("page.css"),
        "script": "".join(map(read_asset, SCRIPTS)),
        "plotly": plotly_script() if figures else "",
        "data": to_script(_NO_NETS if data is None else data),
        "body": body,
    }
    first, *pieces = PAGE.split("{{")
    found = [first]
    for piece in pieces:  # what stands in a part, perhaps text of a user, is left alone
        name, _, rest = piece.partition("}}")
        found += [parts[name], rest]
    return "".join(found)


def section(title: str, text: str, content: str, name: str = "") -> str:
    """Return a section of the page.

    Args:
      title: its heading.
      text: a paragraph below it, as HTML; "" for none.
      content: what follows, as HTML.
      name: to which the links at the top of the page lead; "" for none.
    """
    anchor = f" id='{name}'" if name else ""
    intro = f"<p>{text}</p>" if text else ""
    return f"<section{anchor}><h2>{title}</h2>{intro}{content}</section>"


def part(title: str, text: str, content: str) -> str:
    """Return a part of a section: a smaller heading, a paragraph ("" for none), and HTML."""
    return f"<h3>{title}</h3>{f'<p class=note>{text}</p>' if text else ''}{content}"


def fold(title: str, content: str) -> str:
    """Return HTML that is hidden until its title is clicked; on paper it is shown."""
    return f"<details><summary>{title}</summary>{content}</details>"


def command_line(command: str) -> str:
    """Return a command in a box of its own, beside which the page puts a button that copies it."""
    return f"<div class='command'><pre><code>{escape(command)}</code></pre></div>"


def figure(plot: Any, name: str, label: str, *, nets: bool = False) -> str:
    """Return a Plotly figure as HTML, which the page draws when it comes into view.

    Args:
      plot: the figure; a point whose `customdata` is the number of a trial chooses that.
      name: of the figure.
      label: says what it is, for those who do not see it.
      nets: whether its points are nets, of which the chosen one gets a ring.
    """
    spec = to_script(json.loads(plot.to_json()))
    linked = " data-nets tabindex='0'" if nets else ""
    return (
        f"<figure class='plot' id='figure-{name}' role='group' aria-label='{escape(label)}'"
        f"{linked}><div class='canvas' style='height:{plot.layout.height}px'></div>"
        f"<script type='application/json'>{spec}</script></figure>"
    )


def to_script(data: Any) -> str:
    """Return data as JSON that can stand in a script element, whatever a user wrote into it."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def read_asset(name: str) -> str:
    """Return the text of a file of `assets/`."""
    return (Path(__file__).parent / "assets" / name).read_text(encoding="utf-8")


def plotly_script() -> str:
    """Return plotly.js as a script element, about 4.7 MB."""
    from plotly.offline import get_plotlyjs

    return f"<script>{get_plotlyjs()}</script>"


def table(
    caption: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    nets: Sequence[int] | None = None,
) -> str:
    """Return a table of HTML cells that scrolls if too wide; the first column names the row.

    Args:
      caption: what the table is.
      heads: of the columns.
      rows: of cells.
      nets: of each row the number of the trial that it is about; the chosen one stands out.
    """
    top = "".join(f"<th scope='col'>{head}</th>" for head in heads)
    marks = [f" data-net='{number}'" for number in nets] if nets else [""] * len(rows)
    body = "".join(
        f"<tr{mark}><th scope='row'>{row[0]}</th>"
        f"{''.join(f'<td>{cell}</td>' for cell in row[1:])}</tr>"
        for mark, row in zip(marks, rows, strict=True)
    )
    return (
        f"<div class='scroll' role='region' tabindex='0' aria-label='{escape(caption)}'><table>"
        f"<caption>{escape(caption)}</caption><thead><tr>{top}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def value_cell(name: str, value: float, interval: tuple[float, float] | None) -> str:
    """Return an objective with its interval as HTML.

    Args:
      name: of the objective.
      value: as it is recorded.
      interval: as it is recorded; None: not known.
    """
    one = find_objective(name)
    digits = ".0f" if one.unit == "" else ".1f"
    text = f"<b>{one.shown * value:,{digits}}</b>"
    if interval:
        low, high = (one.shown * end for end in interval)
        text += f" <span class='pm'>[{low:,{digits}}, {high:,{digits}}]</span>"
    return text


def file_link(name: str, text: str) -> str:
    """Return a link to a file of the run folder, or a dash if its path leads out of it.

    Args:
      name: the path, relative to the run folder, as the ledger has it.
      text: of the link.
    """
    if not is_inside(name):
        return "–"
    return f"<a href='./{quote(name, errors='backslashreplace')}'>{escape(text)}</a>"
