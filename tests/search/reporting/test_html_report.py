"""The HTML report: its content, that it loads nothing, and that a real browser draws it."""

import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from synthetic_studies import EPS, build, events, final_events

from adv.shell import quote
from search.finals.reseeding_study import find_contenders
from search.formatting import format_duration
from search.outcome.commands import make_commands
from search.outcome.front import find_front
from search.record.trial_result import MaskingGap
from search.record.view import View
from search.reporting.csv_tables import trial_rows
from search.reporting.html_report import write_html_report
from search.reporting.importance import importance
from search.reporting.running_table import list_running, running_table
from search.reporting.terminal import LiveProgress
from spaces import SCORES

FIGURES = (
    *("front", "curves", "learning", "importance", "slice-0", "slice-4", "parallel"),
    *("progress", "cost", "timeline"),
)
SECTIONS = ["result", "front", "trust", "mattered", "search", "trials", "reproduce"]


def page(view: View, folder: Path) -> str:
    """Return the HTML report without its scripts: data, figures, plotly.js, our own."""
    write_html_report(view, folder / "report.html")
    text = (folder / "report.html").read_text()
    return re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)


def data_of(folder: Path) -> dict[str, Any]:
    """Return what the page's script knows of the trials."""
    text = (folder / "report.html").read_text()
    (found,) = re.findall(r'id="run-data">(.*?)</script>', text, re.DOTALL)
    data = json.loads(found)
    assert isinstance(data, dict)
    return data


def part_of(text: str, title: str) -> str:
    """Return a part of the page: from its heading to the next one."""
    (found,) = re.findall(
        rf"<h3>{re.escape(title)}</h3>(.*?)(?=<h[23]>|</section>)", text, re.DOTALL
    )
    assert isinstance(found, str)
    return found


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [(tag, k, v) for k, v in attrs if k in {"src", "href", "action", "srcset"}]


def test_it_shows_the_counts_the_front_and_the_failures(tmp_path):
    view = build(16, 3)
    text = page(view, tmp_path)
    assert "13 finished, 3 failed, of 16 planned" in text
    assert "How much noise does a random self-ensemble need?" in text
    assert re.findall(r"<section id='(\w+)'", text) == SECTIONS
    for name in FIGURES:
        assert f"id='figure-{name}'" in text
    for trial in view.front():
        assert f"href='./trials/{trial.name}/best.safetensors'" in text
    assert text.count("loss is &lt;nan&gt; &amp; not a number") == 3
    assert f"{tmp_path}/front/{view.front()[0].name}.safetensors --split test" in text


def test_its_data_holds_every_trial_and_the_front(tmp_path):
    view = build(16, 3)
    page(view, tmp_path)
    data = data_of(tmp_path)
    assert [trial["n"] for trial in data["trials"]] == list(range(16))
    assert data["front"] == [trial.number for trial in view.front()]
    assert data["begin"] in data["front"]
    first = data["trials"][data["front"][0]]
    assert first["file"] == f"{tmp_path}/front/{view.front()[0].name}.safetensors"
    assert "most accurate" in first["roles"] and len(first["curve"]) == 5
    assert [row[0] for row in first["epochs"]] == list(range(1, 13))
    failed = data["trials"][4]
    assert failed["state"] == "failed" and failed["why"].startswith("loss is <nan>")
    assert "values" not in failed and "file" not in failed
    flagged = data["trials"][2]
    assert flagged["marks"][0][0] == "flagged" and flagged["flagged"]


def test_a_chosen_net_has_the_commands_of_a_recommended_one(tmp_path):
    view = build(16, 3)
    page(view, tmp_path)
    (what, train), *_ = [c for c in data_of(tmp_path)["commands"] if "train" in c[1]]
    member = find_front(view).members[0]
    filled = train.replace("@FILE@", quote(tmp_path / member.file))
    assert what == "Train it at full scale"
    assert filled.replace("@NUMBER@", member.name) == (
        make_commands(member, view.header, tmp_path).train
    )


def test_it_says_how_trainings_went(tmp_path):
    """Trial 0 ended early, trial 1 overfitted for a while; the others have no remark."""
    view = View()
    flag = {"catastrophic_overfitting": 1.0, "pgd_accuracy": 0.0}
    for event in events(4, 0):
        if event["event"] == "epoch":
            if event["trial"] == 0 and event["epoch"] > 7:
                continue
            if event["trial"] == 1 and event["epoch"] in (3, 4, 5, 9):
                event["metrics"] = {**event["metrics"], **flag}
        view.apply(event)
    remarks = [view.trials[n].remarks for n in range(4)]
    assert remarks == [
        ("ended after 7 of 12 epochs",),
        ("overfitted to its attack in epochs 3 to 5, 9",),
        (),
        (),
    ]
    text = page(view, tmp_path)
    went = part_of(text, "How trainings went")
    assert went.count("ended after") == 1
    assert "overfitted to its attack in epochs 3 to 5, 9" in went
    assert data_of(tmp_path)["trials"][1]["over"] == [3, 4, 5, 9]
    assert "How trainings went" not in page(build(4, 0), tmp_path)
    assert [row["overfitted"] for row in trial_rows(view)] == [0, 4, 0, 0]


def test_the_terminal_says_it_too(capsys):
    view, console = View(), Console(width=200)
    with LiveProgress(console, 2, view) as live:
        for event in events(2, 0):
            if event["event"] == "epoch" and event["trial"] == 0 and event["epoch"] > 7:
                continue
            if event["event"] == "epoch" and event["trial"] == 1 and event["epoch"] == 12:
                event["metrics"] = {"catastrophic_overfitting": 1.0}
                assert "1  epoch 12/12" in shown(view)
                view.apply(event)
                assert "1!  scoring" in shown(view).replace("   ", "  ")
            view.apply(event)
            live(event, view)
    said = capsys.readouterr().out
    assert "trial 0 finished" in said and "  ended after 7 of 12 epochs  | 1/2 done" in said
    assert "  overfitted to its attack in epoch 12  | 2/2 done" in said


def shown(view: View) -> str:
    """Return the text of the live table."""
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(running_table(list_running(view), view, None))
    return console.export_text()


def test_it_says_what_the_numbers_are(tmp_path):
    text = page(build(5, 0), tmp_path)
    for words in (
        "validation split (500 images)",
        "pgd-8 (eps 8/255, 20 steps, 2 restarts)",
        "Here 5 forward passes vote",
        "expectation over transformation",
    ):
        assert words in text


@pytest.mark.parametrize("score", ["report", "margin"])
def test_it_names_the_score(tmp_path, score):
    runs = ["PGD(ball=Linf(eps=0.03), steps=10)", "ProbabilityMargin(ball=Linf(eps=0.03), steps=5)"]
    attacks = [{"name": f"margin10-{eps:g}", "eps": eps, "runs": runs} for eps in EPS]
    extra: dict[str, Any] = {"battery": attacks} if score == "margin" else {}
    view = build(5, 0, scale={"name": "laptop", "epochs": 12, "score": score}, **extra)
    for event in final_events():
        view.apply(event)
    text = page(view, tmp_path)
    for words in (
        f"<dt>Score</dt><dd>{score}: {SCORES[score]}, at six radii</dd>",
        f"here the {score} score",
        "Attacked score (final battery)",
    ):
        assert words in text
    whole = (tmp_path / "report.html").read_text()
    assert f"Attacked score, {score} (percent points" in whole
    assert ("(eps 8/255, 2 runs)" in text) == (score == "margin")


def test_a_masking_gap_is_shown_flagged_or_missing(tmp_path):
    view = build(16, 3)
    first, second, *_ = view.front()
    page(view, tmp_path)
    shown = {trial.number for trial in (*view.front(), *find_contenders(view))}
    assert 2 in shown  # whose gap is another one
    sound = "2.0 <span class='pm'>[1.0, 4.0]</span></td>"
    assert table_of(tmp_path, "Nets of the front").count(sound) == len(shown) - 1
    wide = MaskingGap(gap=0.12, interval=(0.05, 0.2), flagged=True)
    for trial, gap in ((first, wide), (second, None)):
        assert trial.result is not None
        details = replace(trial.result.details, masking_gap=gap)
        trial.result = replace(trial.result, details=details)
    text = page(view, tmp_path)
    flagged = "12.0 <span class='pm'>[5.0, 20.0]</span> <b class='flag'>flagged</b>"
    front = table_of(tmp_path, "Nets of the front")
    assert front.count(flagged) == 1 and front.count("<td>–</td>") >= 1
    assert flagged in table_of(tmp_path, "Masking gaps of the front")
    whole = (tmp_path / "report.html").read_text()
    assert "Masking gap 12.0 (flagged)" in whole
    assert f"data-choose='{first.number}' data-jump" not in text  # it is not recommended


def test_two_thousand_trials_weigh_less_than_15_mb(tmp_path):
    """The weight of the page grows in proportion to the trials."""
    sizes = []
    for trials in (100, 300):
        write_html_report(build(trials, 0, epochs=30), tmp_path / "report.html")
        sizes.append((tmp_path / "report.html").stat().st_size)
    assert sizes[0] + (sizes[1] - sizes[0]) / 200 * 1900 < 15e6


def table_of(folder: Path, caption: str) -> str:
    """Return a table of the page."""
    text = (folder / "report.html").read_text()
    (found,) = re.findall(rf"<caption>{re.escape(caption)}</caption>.*?</table>", text, re.DOTALL)
    assert isinstance(found, str)
    return found


def test_nothing_is_loaded_from_outside(tmp_path):
    view = build(6, 1)
    text = page(view, tmp_path)
    links = Links()
    links.feed(text)
    outside = [v for _, _, v in links.found if not v.startswith(("./", "data:", "#"))]
    assert outside == []
    (policy,) = re.findall(r'"Content-Security-Policy" content="([^"]*)"', text)
    assert {part.strip() for part in policy.split(";")} == {
        "default-src 'none'",  # so no connection, no frame, no font, no file of another site
        "img-src data: blob:",
        "style-src 'unsafe-inline'",
        "script-src 'unsafe-inline'",
        "base-uri 'none'",
        "form-action 'none'",
    }
    assert "url(" not in text and "@import" not in text
    assert (tmp_path / "report.html").read_text().count("plotly.js v") == 1


@pytest.mark.parametrize("trials", [0, 1, 2, 3, 4, 5])
def test_small_studies_have_a_page(tmp_path, trials):
    text = page(build(trials, 0), tmp_path)
    assert ("No trial has finished" in text) == (trials == 0)
    if trials:
        assert f"Importance needs 8 finished trials, there are {trials}." in text


def test_a_study_in_which_all_fails_has_a_page(tmp_path):
    view = View()
    for event in events(3, 0):
        if event["event"] == "finished":
            event = {
                "event": "failed",
                "time": event["time"],
                "trial": event["trial"],
                "reason": "x",
            }
        view.apply(event)
    text = page(view, tmp_path)
    assert "0 finished, 3 failed" in text
    assert "No trial has finished" in text
    assert part_of(text, "Failed, stopped, and without a result").count("<td>failed</td>") == 3


def test_a_study_without_any_detail_has_a_page(tmp_path):
    view = View()
    view.apply({"event": "study", "time": 0.0, "format": 1})
    for number in range(5):
        view.apply(
            {
                "event": "proposed",
                "time": 1.0,
                "trial": number,
                "params": {"a": number},
                "seed": 0,
                "origin": "x",
            }
        )
        objectives = {"natural_accuracy": number / 9, "attacked_score": 60.0}
        view.apply(
            {
                "event": "finished",
                "time": 2.0,
                "trial": number,
                "intervals": {},
                "details": {},
                "objectives": objectives,
            }
        )
    assert "5 finished" in page(view, tmp_path)


def test_what_a_user_wrote_is_escaped(tmp_path):
    evil = "<img src=x onerror=alert(1)></script><script>alert(2)</script>{{plotly}} <!--"
    view = build(6, 2, question=evil, space=evil, name=evil, commit=evil, hardware=evil)
    for trial in view.trials.values():
        trial.params = {**trial.params, "model": evil}
        trial.reason = trial.reason and evil
    knobs = dict(view.header.knobs)
    knobs["model"] = {"kind": "Choice", "options": [evil, "b"], "when": {}}
    knobs[evil] = {"kind": "Int", "low": 1, "high": 2, "log": False, "when": {}}
    view.header = replace(view.header, knobs=knobs)
    write_html_report(view, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "<img" not in text and "<script>alert" not in text and "<!--" not in text
    assert text.count("plotly.js v") == 1
    assert data_of(tmp_path)["trials"][0]["params"]["model"] == evil


def test_importance_finds_the_knob_that_matters():
    shares = importance(build(60, 0))
    assert isinstance(shares, dict)
    for share in shares.values():
        assert max(share, key=share.__getitem__) == "sigma"
        assert sum(share.values()) == pytest.approx(1)


def test_importance_of_equal_values_is_a_sentence():
    view = build(8, 0)
    for trial in view.trials.values():
        assert trial.result is not None
        objectives = {**trial.result.objectives, "natural_accuracy": 0.5}
        trial.result = replace(trial.result, objectives=objectives)
    assert "all finished trials have the same natural accuracy" in importance(view)


def test_durations_read_well():
    assert [format_duration(s) for s in (0, 59.6, 61, 3600, 90061)] == [
        "0 s",
        "1 min 00 s",
        "1 min 01 s",
        "1 h 00 min",
        "25 h 01 min",
    ]


def test_many_front_members_spread_the_drawn_curves():
    from search.reporting import plots

    view = build(16, 0)
    drawn = [trace.visible for trace in plots.curves(view, find_front(view)).data]
    assert drawn[0] is drawn[-1] is True
    assert sum(v is True for v in drawn) <= plots.MAX_CURVES
