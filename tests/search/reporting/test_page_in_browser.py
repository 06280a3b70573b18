"""The page in a real browser: it is drawn, a net is chosen, it fits, prints, and is accessible."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_studies import build

from search.record.run_folder import EXAMPLES
from search.record.view import View
from search.reporting.html_report import write_html_report

pytestmark = pytest.mark.slow
Browser = Any
WIDTHS = (360, 800, 1400)
HEADING = "return document.querySelector('#chosen h3').textContent"


def write_examples(view: View, folder: Path, shown: int = 2) -> None:
    """Give each net of the front examples, as a trial leaves them beside its weights."""
    rng = np.random.default_rng(0)
    for trial in view.front():
        images = rng.integers(0, 256, (shown, 3, 8, 8), dtype=np.uint8)
        labels = np.arange(20) % 10
        path = folder / "trials" / trial.name / EXAMPLES
        path.parent.mkdir(parents=True)
        np.savez_compressed(
            path,
            images=images,
            attacked=np.clip(images.astype(int) + 3, 0, 255).astype(np.uint8),
            labels=labels,
            predicted=np.where(labels == 3, 8, labels),
            predicted_attacked=(labels + 1) % 10,
            eps=np.array(8 / 255),
            attack=np.array("PGD"),
            norm=np.array("Linf"),
            split=np.array("validation"),
            classes=np.array([f"class {k}" for k in range(10)]),
        )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[View, str]:
    """Return a search of 18 trials and the address of its page, with text that a user wrote."""
    folder = tmp_path_factory.mktemp("run")
    view = build(18, 3, question="<b onmouseover=alert(1)>%{x}</b>", classes=10)
    write_examples(view, folder)
    write_html_report(view, folder / "report.html")
    return view, (folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Start a headless Chromium that records its console and the addresses it requests."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs chromium and chromedriver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        f"user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield started
    started.quit()


def open_page(browser: Browser, url: str, width: int, *, dark: bool = False) -> None:
    """Open the page in a window that is as high as the page, so that all figures are drawn."""
    for height in (1000, 30_000):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": [scheme]})
    browser.get(url)
    missing = "return [...document.querySelectorAll('figure.plot')].filter(f => !f.dataset.drawn"
    missing += " && !f.closest('details:not([open])')).map(f => f.id)"
    wait(browser, lambda b: not b.execute_script(missing))


def wait(browser: Browser, until: Any) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 20).until(until)


def errors_of(browser: Browser) -> list[str]:
    return [m["message"] for m in browser.get_log("browser") if m["level"] != "INFO"]


def test_it_is_drawn_without_errors_and_without_requests(browser, run):
    view, url = run
    browser.get_log("performance")
    open_page(browser, url, 1400)
    points = "return document.querySelector('#figure-{} .canvas').data"
    front = browser.execute_script(points.format("front"))
    drawn = {trace["name"]: len(trace["x"]) for trace in front}
    best, scored = len(view.front()), len(view.scored())
    assert drawn["front"] == best and drawn["other finished trials"] == scored - best - 1
    assert drawn["marked: its score misleads"] == drawn["chosen"] == 1
    assert "sigma = " in front[-2]["hovertext"][0]
    pictures = "return [...document.querySelectorAll('.picture img')].map(i => i.naturalWidth)"
    assert browser.execute_script(pictures) == [8] * 6
    assert errors_of(browser) == []
    sent = [json.loads(m["message"])["message"] for m in browser.get_log("performance")]
    asked = [
        m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"
    ]
    assert any(link.startswith("file:") for link in asked)
    assert [link for link in asked if link.startswith(("http", "ws"))] == []
    share = "return document.querySelectorAll('[data-title^=Share]').length"
    assert browser.execute_script(share) == 0


def test_a_net_is_chosen_by_mouse(browser, run):
    from selenium.webdriver import ActionChains

    view, url = run
    open_page(browser, url, 1400)
    wanted = view.front()[-1].number
    place = """
      const canvas = document.querySelector('#figure-front .canvas'), box = canvas._fullLayout;
      const front = canvas.data.find(trace => trace.name === 'front');
      const at = front.customdata.indexOf(arguments[0]), corner = canvas.getBoundingClientRect();
      return [corner.left + box._size.l + box.xaxis.d2p(front.x[at]),
              corner.top + box._size.t + box.yaxis.d2p(front.y[at])].map(Math.round);
    """
    x, y = browser.execute_script(place, wanted)
    actions = ActionChains(browser)
    actions.w3c_actions.pointer_action.move_to_location(x, y).click()
    actions.perform()
    wait(browser, lambda b: b.execute_script(HEADING).startswith(f"Trial {wanted}:"))
    row = f"return document.querySelector('#front tr[data-net=\"{wanted}\"]').className"
    assert browser.execute_script(row) == "chosen"
    curve = "return document.querySelector('#figure-chosen-curve .canvas').data.at(-1).y"
    result = view.trials[wanted].result
    assert result is not None and result.details.curve
    shown = [pytest.approx(100 * row[1], abs=0.01) for row in sorted(result.details.curve)]
    wait(browser, lambda b: b.execute_script(curve) == shown)
    texts = browser.execute_script("return document.getElementById('chosen').innerText")
    assert f"front/{view.trials[wanted].name}.safetensors --split test" in texts
    assert "Accuracy by class" in texts and "under attack class 1" in texts
    matrix = "return [...document.querySelectorAll('.confusion tbody tr')].map(r => r.innerText)"
    rows = [re.split(r"\s+(?=[\d·])", row) for row in browser.execute_script(matrix)]
    assert rows[3][-2] == "2" and rows[8][-2] == "2"  # the second of 3s that are taken for 8


def test_a_net_is_chosen_by_keyboard(browser, run):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    view, url = run
    open_page(browser, url, 1400)
    numbers = [trial.number for trial in view.front()]
    browser.execute_script("document.getElementById('figure-front').focus()")
    keys = ((Keys.HOME, 0), (Keys.ARROW_RIGHT, 1), (Keys.END, -1), (Keys.ARROW_LEFT, -2))
    for key, place in keys:
        ActionChains(browser).send_keys(key).perform()
        assert browser.execute_script(HEADING).startswith(f"Trial {numbers[place]}:")
    ActionChains(browser).send_keys(Keys.ENTER).perform()
    focused = "return document.activeElement.textContent"
    assert browser.execute_script(focused).startswith(f"Trial {numbers[-2]}:")
    button = f"#front tr[data-net='{numbers[0]}'] button"
    browser.execute_script("document.querySelector(arguments[0]).focus()", button)
    ActionChains(browser).send_keys(Keys.SPACE).perform()
    assert browser.execute_script(HEADING).startswith(f"Trial {numbers[0]}:")


def test_colours_show_a_choice_that_is_picked(browser, run):
    view, url = run
    open_page(browser, url, 1400)
    browser.find_element("css selector", "[data-colours] option[value=model]").click()
    drawn = "return document.querySelector('#figure-front .canvas').data"
    traces = {trace["name"]: trace for trace in browser.execute_script(drawn)}
    assert {"model = resnet8", "model = vit"} <= set(traces)
    colours = {name: traces[f"model = {name}"]["marker"]["color"] for name in ("resnet8", "vit")}
    front = traces["front"]
    expected = [colours[str(view.trials[n].params["model"])] for n in front["customdata"]]
    assert front["marker"]["color"] == expected and len(set(colours.values())) == 2
    assert errors_of(browser) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_its_window_in_light_and_dark(browser, run, width, dark):
    open_page(browser, run[1], width, dark=dark)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    colour = "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    assert (max(browser.execute_script(colour)) < 60) == dark
    ink = "return document.querySelector('#figure-front .xtick text').style.fill"
    red = int(re.findall(r"\d+", browser.execute_script(ink))[0])
    assert (red > 200) == dark
    assert errors_of(browser) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_no_serious_fault(browser, run, dark):
    axe = pytest.importorskip("axe_core_python.selenium", reason="needs axe-core-python")
    open_page(browser, run[1], 1400, dark=dark)
    unfold = "document.querySelectorAll('details').forEach(fold => { fold.open = true; })"
    browser.execute_script(unfold)
    found = axe.Axe().run(browser)
    assert len(found["passes"]) > 20
    grave = [v for v in found["violations"] if v["impact"] in ("serious", "critical")]
    assert [(v["id"], v["nodes"][0]["html"]) for v in grave] == []


def test_it_prints_whole_figures_on_light_paper_and_then_is_as_before(browser, run):
    open_page(browser, run[1], 1400, dark=True)
    widths = "return [...document.querySelectorAll('figure .main-svg')].map(s => s.clientWidth)"
    seen = """
      window.printed = null;
      addEventListener('beforeprint', () => {
        const style = getComputedStyle(document.querySelector('#figure-front .xtick text'));
        window.printed = {
          widths: [...document.querySelectorAll('figure .main-svg')].map(s => s.clientWidth),
          folds: [...document.querySelectorAll('details')].every(fold => fold.open),
          ink: style.fill,
        };
      });
    """
    browser.execute_script(seen)
    before = browser.execute_script(widths)
    paper = {"paperWidth": 8.27, "paperHeight": 11.69, "printBackground": True}
    printed = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", paper)["data"])
    assert printed.startswith(b"%PDF")
    found = browser.execute_script("return window.printed")
    assert max(found["widths"]) <= 680 < max(before)  # of 688 between the margins of A4
    assert found["folds"] and found["ink"] == "rgb(0, 0, 0)"
    assert max(browser.execute_script(widths)) == max(before)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    hidden = "return [...document.querySelectorAll('nav, .modebar, .controls, .copy')]"
    hidden += ".filter(e => getComputedStyle(e).display !== 'none').length"
    assert browser.execute_script(hidden) == 0
    assert errors_of(browser) == []


def test_the_table_of_all_trials_sorts_and_filters(browser, run):
    view, url = run
    open_page(browser, url, 1400)
    numbers = "return [...document.querySelectorAll('#all-trials tbody th')].map(e => e.innerText)"

    def shown() -> list[int]:
        return [int(text) for text in browser.execute_script(numbers)]

    def filtered(text: str) -> set[int]:
        field = browser.find_element("css selector", "#all-trials input")
        field.clear()
        field.send_keys(text)
        return set(shown())

    head = "//div[@id='all-trials']//thead//button[starts-with(text(), 'Natural accuracy')]"
    accuracy = {t.number: t.result.point[0] for t in view.scored() if t.result}
    for sign in (1, -1):
        browser.find_element("xpath", head).click()
        known = [n for n in shown() if n in accuracy]
        assert known == sorted(accuracy, key=lambda n: sign * accuracy[n])
        assert [n for n in shown() if n not in accuracy] == shown()[len(accuracy) :]
    rising = "return document.querySelectorAll('#all-trials [aria-sort=descending]').length"
    assert browser.execute_script(rising) == 1
    trials = view.trials.values()
    assert filtered("sigma>0.2") == {t.number for t in trials if float(t.params["sigma"]) > 0.2}
    assert filtered("model=vit depth<=4") == {
        t.number for t in trials if int(t.params.get("depth", 9)) <= 4
    }
    assert filtered("failed") == {t.number for t in view.in_state("failed")}
    assert filtered("") == set(view.trials)
    browser.find_element("css selector", "#all-trials select option[value=front]").click()
    assert set(shown()) == {trial.number for trial in view.front()}
