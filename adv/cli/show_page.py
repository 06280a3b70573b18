"""The page about one net that `python -m adv show` writes."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from torch import Tensor

from adv.evaluation.score import Score
from adv.net_plots import plot_confusion, plot_robustness

if TYPE_CHECKING:
    import plotly.graph_objects as go

TIMES = 10  # by which perturbations are multiplied to be seen

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:;
 style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<link rel="icon" href="data:,"><title>{{title}}</title>
<style>
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1000px; padding: 24px; background: #fff; color: #1c2128;
       font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 24px; overflow-wrap: anywhere; } h2 { font-size: 19px; margin: 32px 0 8px; }
p { max-width: 75ch; color: #444c56; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 18px 4px 0; text-align: right; border-bottom: 1px solid #e1e4e8; }
th:first-child { text-align: left; font-weight: 600; }
figure { margin: 0; overflow-x: auto; }
.pictures { display: grid; gap: 16px;
            grid-template-columns: repeat(auto-fill, minmax(min(300px, 100%), 1fr)); }
.net { border: 1px solid #d5d9de; border-radius: 6px; padding: 10px; }
.net div { display: grid; grid-template-columns: repeat(3, 1fr); gap: 6px; font-size: 13px; }
.net img { width: 100%; image-rendering: pixelated; display: block; }
.net p { margin: 8px 0 0; font-size: 14px; color: #1c2128; }
.wrong { color: #a40e26; font-weight: 600; }
</style>
<script>{{plotly}}</script>
</head><body>{{body}}</body></html>
"""


@dataclass(frozen=True, eq=False)
class Shown:
    """An image in three pictures: clean, attacked, and the perturbation times ten around grey.

    Args:
      number: of the image in its split.
      pictures: floats in [0, 1], [c, h, w], by the name of the picture.
    """

    number: int
    pictures: dict[str, Tensor]

    @classmethod
    def of(cls, number: int, clean: Tensor, attacked: Tensor) -> Shown:
        """Return the pictures of an image and of the same image under an attack."""
        moved = (0.5 + TIMES * (attacked - clean)).clamp(0, 1)
        return cls(number, {"clean": clean, "attacked": attacked, "perturbation": moved})

    def files(self) -> dict[str, bytes]:
        """Return each picture as a PNG file."""
        return {name: encode_png(picture) for name, picture in self.pictures.items()}


@dataclass(frozen=True, eq=False)
class NetPage:
    """The content of a page.

    Args:
      title: the net in one line.
      split: name of the images.
      score: of the net.
      class_names: of the classes.
      labels: true classes [n].
      predicted: classes without an attack [n].
      predicted_attacked: classes under the attack that is pictured [n].
      attack: index of that attack in the score.
      random: whether the net is random.
      pictures: of the first images.
    """

    title: str
    split: str
    score: Score
    class_names: Sequence[str]
    labels: Tensor
    predicted: Tensor
    predicted_attacked: Tensor
    attack: int
    random: bool
    pictures: Sequence[Shown]


def render_page(page: NetPage) -> str:
    """Return the page as HTML that loads nothing from outside."""
    from plotly.offline import get_plotlyjs

    score = page.score
    name, eps = escape(score.names[page.attack]), score.eps[page.attack]
    body = [
        f"<h1>{escape(page.title)}</h1>",
        f"<p>The first {score.images} {escape(page.split)} images.</p>",
        score._repr_html_(),
        "<h2>Robustness curve</h2><p>A sound curve falls towards 0; one that rises or stays high "
        "indicates a weak attack rather than a robust net. The dashed line is guessing.</p>",
        _figure(plot_robustness(score, classes=len(page.class_names)), "curve"),
        f"<h2>Images</h2><p>The first {len(page.pictures)}, not chosen: clean, under {name} (eps "
        f"{eps:.4g}), and the perturbation times {TIMES} around grey. An image that is wrong "
        f"without an attack is not attacked.{_RANDOM if page.random else ''}</p>",
        f"<div class='pictures'>{''.join(_picture(page, shown) for shown in page.pictures)}</div>",
        "<h2>Confusion without an attack</h2>",
        _figure(plot_confusion(page.labels, page.predicted, page.class_names), "confusion"),
        f"<h2>Confusion under {name}</h2>",
        _figure(
            plot_confusion(page.labels, page.predicted_attacked, page.class_names),
            "confusion-attacked",
        ),
    ]
    html = PAGE.replace("{{plotly}}", get_plotlyjs()).replace("{{title}}", escape(page.title))
    return html.replace("{{body}}", "\n".join(body))


_RANDOM = (
    " The net is random: the class is that of another vote than the verdict, which may differ for "
    "images near the boundary."
)


def _picture(page: NetPage, shown: Shown) -> str:
    n = shown.number
    cells = "".join(
        f"<span><img alt='{kind}' src='data:image/png;base64,{base64.b64encode(png).decode()}'>"
        f"{kind}{f' x {TIMES}' if kind == 'perturbation' else ''}</span>"
        for kind, png in shown.files().items()
    )
    true = page.class_names[int(page.labels[n])]
    ok = page.score.ok
    said = ", ".join(
        f"{when}: <span class='{'right' if right else 'wrong'}'>"
        f"{escape(page.class_names[int(predicted[n])])}{'' if right else ' (wrong)'}</span>"
        for when, predicted, right in (
            ("clean", page.predicted, bool(ok[0, n])),
            ("attacked", page.predicted_attacked, bool(ok[1 + page.attack, n])),
        )
    )
    return (
        f"<div class='net'><div>{cells}</div><p>image {n}, class {escape(true)}; {said}</p></div>"
    )


def _figure(plot: go.Figure, name: str) -> str:
    config = {"displaylogo": False, "responsive": True, "plotlyServerURL": ""}
    html = plot.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=config)
    return f"<figure>{html}</figure>"


def encode_png(picture: Tensor) -> bytes:
    """Return an image [1 or 3, h, w] in [0, 1] as a PNG file."""
    from PIL import Image

    pixels = (255 * picture).round().byte().permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, "png")
    return buffer.getvalue()
