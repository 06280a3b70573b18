"""The template of the HTML report, and its sections, figures and tables as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from search.record.run_files import is_inside

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
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #f6f7f8; color: #1c2128;
       font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 32px 64px; }
h1 { font-size: 32px; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 0 0 4px; }
p { margin: 0 0 12px; max-width: 75ch; }
a { color: #0b57a4; }
.kicker { color: #57606a; font-size: 13px; letter-spacing: .08em; text-transform: uppercase;
          margin: 0 0 4px; }
.question { font-size: 19px; color: #444c56; margin: 6px 0 20px; }
.facts { display: grid; grid-template-columns: repeat(3, 1fr); gap: 12px 32px; margin: 0 0 32px; }
.facts div { border-top: 1px solid #d5d9de; padding-top: 6px; min-width: 0; }
dt { color: #57606a; font-size: 13px; }
dd { margin: 0; overflow-wrap: anywhere; }
section { background: #fff; border: 1px solid #e1e4e8; border-radius: 8px; padding: 24px 28px;
          margin: 0 0 20px; }
section > p, .none { color: #57606a; }
section > .verdict { color: #1c2128; font-size: 19px; font-weight: 600; }
figure { margin: 0; }
.scroll { overflow-x: auto; }
.scroll:focus-visible { outline: 2px solid #0b57a4; outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-size: 14.5px; margin-top: 8px;
        font-variant-numeric: tabular-nums; }
caption { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
th, td { padding: 6px 20px 6px 0; text-align: left; white-space: nowrap;
         border-bottom: 1px solid #eceef0; }
thead th { font-weight: 600; border-bottom: 2px solid #d5d9de; vertical-align: bottom; }
td:last-child { white-space: normal; overflow-wrap: anywhere; }
.pm { color: #57606a; }
.flag { color: #a40e26; }
.notes { margin-top: 16px; }
.notes p { color: #57606a; margin: 0 0 6px; }
code { font: 14px/1.5 ui-monospace, Menlo, Consolas, monospace; }
pre { background: #f6f7f8; border: 1px solid #e1e4e8; border-radius: 6px; padding: 12px 14px;
      overflow-x: auto; margin: 0; }
@media (max-width: 800px) { .facts { grid-template-columns: 1fr; } main { padding: 20px 12px; } }
</style>
{{plotly}}
</head>
<body><main>
{{body}}
</main></body>
</html>
"""

READING_GUIDE = """<section>
<h2>How to read these numbers</h2>
<p><b>Held out, but selected on.</b> The values of trials are from the validation split{images};
only finalists meet the test split. A trial keeps its best epoch, and the front keeps the best
trials, both selected on held-out images, so a front member looks slightly better than it is. Two
trials whose intervals overlap may be equally good.</p>
<p><b>The attacks.</b> The attacked score, here the {score} score, is the sum of the accuracies, in
percent points, under: {battery}. Each of them is an upper bound on robustness: a stronger attack
may find more.</p>
<p><b>The masking gap.</b> By how much a stronger attack with another loss lowers the accuracy at
one radius. On published nets plain PGD misses 5 to 21 % of the images that a stronger attack fools,
on some sound ones more; the attacks of the margin score miss hardly any.{power} A trial is flagged
if the whole interval is above 22 % of those (margin score: 5 %), or if its gradient is not the
slope of its outputs: its net may mask its gradients instead of being robust, and its score should
not be trusted before <code>python -m adv audit</code> has checked it.</p>
<p><b>Random nets.</b> A net that samples random numbers is scored by the vote of several forward
passes, and attacked by the mean gradient of several (expectation over transformation).{votes}
Otherwise randomness hides the gradient and the score is too optimistic.</p>
{publish}
<p>The glossary of the project explains the words of this page: <code>docs/glossary.md</code>.</p>
</section>"""

PUBLISH = """<p><b>The figures to publish</b> are from the test split, evaluated once, for the
trial that you have selected:</p>
<pre><code>{command}</code></pre>"""

PUBLISHED = """<p><b>The figures to publish</b> are the finalists' means with their intervals, under
the final battery: neither those seeds nor the test images were used to select anything.</p>"""


def section(title: str, text: str, content: str) -> str:
    """Return a section of the page; `content` is HTML."""
    return f"<section><h2>{title}</h2>{f'<p>{text}</p>' if text else ''}{content}</section>"


def figure(plot: Any, name: str, label: str) -> str:
    """Return a Plotly figure as HTML; the page holds plotly.js once, by `plotly_script`."""
    config = {
        "displaylogo": False,
        "responsive": True,
        "showSendToCloud": False,
        "plotlyServerURL": "",
        "modeBarButtonsToRemove": ["select2d", "lasso2d"],
    }
    html = plot.to_html(
        full_html=False, include_plotlyjs=False, div_id=f"figure-{name}", config=config
    )
    return f"<figure role='group' aria-label='{escape(label)}'>{html}</figure>"


def plotly_script() -> str:
    """Return plotly.js as a script element, about 4.7 MB."""
    from plotly.offline import get_plotlyjs

    return f"<script>{get_plotlyjs()}</script>"


def table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of HTML cells that scrolls if too wide; the first column names the row."""
    top = "".join(f"<th scope='col'>{head}</th>" for head in heads)
    body = "".join(
        f"<tr><th scope='row'>{row[0]}</th>{''.join(f'<td>{cell}</td>' for cell in row[1:])}</tr>"
        for row in rows
    )
    return (
        f"<div class='scroll' role='region' tabindex='0' aria-label='{escape(caption)}'><table>"
        f"<caption>{escape(caption)}</caption><thead><tr>{top}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def file_link(name: str, text: str) -> str:
    """Return a link to a file of the run folder, or a dash if its path leads out of it.

    Args:
      name: the path, relative to the run folder, as the ledger has it.
      text: of the link.
    """
    if not is_inside(name):
        return "–"
    return f"<a href='./{quote(name, errors='backslashreplace')}'>{escape(text)}</a>"
