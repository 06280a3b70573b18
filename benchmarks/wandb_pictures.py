"""Draw the figures that W&B is sent of a run, for docs/wandb.md.

    python benchmarks/wandb_pictures.py runs/NAME docs/images

It reads them from W&B's offline files, `runs/NAME/wandb`, and draws them with Plotly in headless
Chromium. W&B's own panels cannot be drawn without W&B.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import plotly.graph_objects as go
from selenium import webdriver

KEYS = ("front", "parallel_coordinates", "robustness_curves", "importance")
WIDTH, HEIGHT = 900, 460


def main(run: Path, folder: Path) -> None:
    """Write a picture `wandb-KEY.png` for each figure that the run has."""
    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--hide-scrollbars"):
        options.add_argument(flag)
    folder.mkdir(parents=True, exist_ok=True)
    browser = webdriver.Chrome(options=options)
    try:
        browser.set_window_size(WIDTH, HEIGHT + 150)
        for key in KEYS:
            found = sorted(run.glob(f"wandb/offline-run-*/files/media/plotly/{key}_[0-9]*.json"))
            if found:
                draw(browser, json.loads(found[-1].read_text()), folder / f"wandb-{key}.png")
    finally:
        browser.quit()


def draw(browser: webdriver.Chrome, plain: dict[str, object], path: Path) -> None:
    """Draw one figure to a file."""
    figure = go.Figure(plain).update_layout(width=WIDTH - 20, height=HEIGHT)
    figure.update_layout(paper_bgcolor="white", plot_bgcolor="white")
    with tempfile.NamedTemporaryFile("w", suffix=".html") as page:
        figure.write_html(page.name, config={"displayModeBar": False})
        browser.get(f"file://{page.name}")
        plot = browser.find_element("css selector", ".plotly-graph-div")
        browser.implicitly_wait(10)
        browser.find_element("css selector", ".main-svg")
        path.write_bytes(plot.screenshot_as_png)
    print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
