"""The live view fits any window and cuts nothing; the last lines too; plain lines elsewhere."""

import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.cells import cell_len
from synthetic_studies import build, events, final_events, header

import spaces
from adv.terminal.console import PlainConsole
from search.record.view import View
from search.reporting.fitted_table import Column, FittedTable
from search.reporting.running_table import describe_phase
from search.reporting.scatter import draw_scatter
from search.reporting.terminal import LiveProgress, is_live
from search.session.options import Options
from search.session.summary import print_summary
from search.trials.phase import PHASE, Phase, read_phase, report_attacks

WIDTHS = (20, 60, 80, 120, 200, 300)


def terminal(width: int, height: int = 40, **settings: Any) -> PlainConsole:
    plain: dict[str, Any] = {
        "color_system": None,
        "highlight": False,
        "emoji": False,
        "soft_wrap": True,
    }
    plain["force_terminal"] = True
    file = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="")
    return PlainConsole(file=file, width=width, height=height, **{**plain, **settings})


def text_of(console: PlainConsole) -> str:
    file = console.file
    assert isinstance(file, io.TextIOWrapper)
    file.flush()
    assert isinstance(file.buffer, io.BytesIO)
    return file.buffer.getvalue().decode()


def half_way(events_: int = 150) -> View:
    view = View()
    for event in list(events(16, 3))[:events_]:
        view.apply(event)
    return view


def words_of(text: str) -> str:
    return re.sub(r"\s+", "", text)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("height", [12, 24, 60])
def test_the_live_view_fits_the_window(width, height):
    console = terminal(width, height)
    console.print(LiveProgress(console, 16, half_way(), 8)._draw())  # as a live view does
    lines = text_of(console).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert len(lines) < height or width <= 20 or height <= 12
    said = words_of(text_of(console))
    assert "9/16done,finaltrainings0/8,1running,0stopped,2failed" in said
    assert "epoch10/12" in said and "trial9failed:lossis<nan>" in said
    assert "…" not in said and "..." not in said


def test_the_live_view_shows_scatter_scores_and_hyperparameters_where_there_is_room():
    console = terminal(120, 60)
    console.print(LiveProgress(console, 16, half_way(), 8)._draw())
    said = text_of(console)
    assert said.count("●") == 8 + 1 and said.count("·") >= 2  # with the legend
    assert re.search(r"11 +epoch 10/12 +66\.5 % +48\.2 % +vit +0\.03763", said)
    assert (
        "2!" in said
        and re.search(r"^! trial 2 \w", said, re.MULTILINE)
        and "How much noise does a random self-ensemble need?" in said
    )


def test_columns_drop_in_the_stated_order_and_nothing_is_cut():
    cells = [Column("trial", ["7"]), Column("accuracy", ["93.9 % (91 to 96)"], narrow=["93.9 %"])]
    cells += [Column(name, [name * 3], drop=n) for n, name in enumerate(("ab", "cd", "ef"), 1)]
    table = FittedTable("", cells, "all.csv")
    shown = {}
    for width in range(8, 60):
        kept = table.fit(width)
        shown[width] = None if kept is None else [column.title for column in kept]
        console = terminal(width)
        console.print(table, soft_wrap=False)
        lines = text_of(console).splitlines()
        assert max(map(cell_len, lines)) <= width
        missing = [c.title for c in cells if c.title not in (shown[width] or ("trial", "accuracy"))]
        if kept is not None and missing:
            assert words_of(f"left out: {', '.join(missing)} (in all.csv)") in words_of(
                " ".join(lines)
            )
    order = list(dict.fromkeys(map(str, shown.values())))
    assert order == [
        "None",
        "['trial', 'accuracy']",
        "['trial', 'accuracy', 'ab']",
        "['trial', 'accuracy', 'ab', 'cd']",
        "['trial', 'accuracy', 'ab', 'cd', 'ef']",
    ]


def test_a_scatter_turns_the_axis_of_what_is_minimised():
    names = ("natural_accuracy", "parameters")
    points = [(0.5, 1e6), (0.9, 2e6), (0.4, 3e6)]
    drawn = draw_scatter(points, [True, True, False], names, (40, 10), ascii_only=True).plain
    rows = drawn.splitlines()
    assert rows[0].split() == ["parameters", "o", "on", "the", "front", ".", "others"]
    assert len(rows[0]) == 40 and rows[1].lstrip().startswith("1,000,000 |")
    assert "o" in rows[1] and rows[-3].lstrip().startswith("3,000,000 |.")
    assert rows[-2].strip().startswith("40.0 %") and rows[-2].strip().endswith("90.0 %")
    assert rows[-1].strip() == "natural accuracy"
    assert all(len(row) <= 40 for row in rows)
    narrow = draw_scatter(points, [True, True, False], names, (30, 10), ascii_only=True).plain
    assert narrow.splitlines()[0] == "parameters"
    same = draw_scatter([(0.5, 5.0)] * 3, [True] * 3, names, (40, 10)).plain
    assert same.count("●") == 1 + 1


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("finals", [False, True])
def test_the_last_lines_are_whole_at_each_width(width, finals):
    view = build(16, 3)
    for event in final_events((0, 1, 0)) if finals else ():
        view.apply(event)
    study = SimpleNamespace(view=view, exhausted=False, trials=16, space=spaces.load("rse_sigmas"))
    job: Any = SimpleNamespace(study=study, folder=Path("runs/x"), options=Options())
    console = terminal(width)
    print_summary(console, job, "", "")
    said = text_of(console)
    commands = [line for line in said.splitlines() if line.startswith("  python ")]
    assert len([line for line in commands if "-m adv" in line]) % 3 == 0 and commands
    others = [line for line in said.splitlines() if not line.startswith("  python ")]
    assert max(map(cell_len, others)) <= width
    order = [said.index(words) for words in ("trade", "Pareto", "Recommended")]
    assert order == sorted(order)
    for role in ("accurate", "robust", "balanced"):
        assert role in said[order[-1] :].lower()
    assert "front/0001.safetensors --split test" in said and "…" not in said


@pytest.mark.parametrize("how", ["NO_COLOR", "TERM=dumb", "pipe"])
def test_colours_and_moving_views_only_where_they_work(how, monkeypatch):
    monkeypatch.setenv(*({"NO_COLOR": ("NO_COLOR", "1")}.get(how, ("TERM", "dumb"))))
    if how == "NO_COLOR":
        monkeypatch.setenv("TERM", "xterm")
    console = terminal(80, color_system="auto", force_terminal=how != "pipe")
    view = half_way()
    with LiveProgress(console, 16, view) as live:
        assert live._is_live is is_live(console) is (how == "NO_COLOR")
        for event in list(events(16, 3))[150:]:
            view.apply(event)
            live(event, view)
    said = text_of(console)
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", said)
    if how != "NO_COLOR":
        assert "\x1b" not in said and "trial 11 finished  natural accuracy" in said
        assert "time left" in said or " left" in said


def test_a_window_that_changes_its_size_is_cleared():
    console = terminal(100)
    view = half_way()
    with LiveProgress(console, 16, view) as live:
        live._live.refresh()
        assert "\x1b[2J" not in text_of(console)
        console.size = (60, 40)
        live._live.refresh()
        after = text_of(console)
        assert after.count("\x1b[2J") == 1
        live._live.refresh()
        assert text_of(console).count("\x1b[2J") == 1
    assert "\x1b[2J" in after


def test_a_trial_tells_its_phase_while_it_is_attacked(tmp_path):
    from adv.evaluation.engine import attack_progress

    trial = half_way().trials[11]
    assert describe_phase(trial, None) == "epoch 10/12"
    assert describe_phase(build(1, 0).trials[0], None) == "scoring"
    assert read_phase(tmp_path) is None
    with report_attacks(tmp_path):
        assert read_phase(tmp_path) is None
        attack_progress.begin(6)
        assert read_phase(tmp_path) == Phase("attacking", 0, 6)
        assert describe_phase(trial, read_phase(tmp_path)) == "attacking 0/6"
    assert list(tmp_path.iterdir()) == []
    attack_progress.begin(6)  # nobody listens
    for damaged in ("", "[]", '{"name": 1}', json.dumps({"name": "x", "done": "a", "of": 2})):
        (tmp_path / PHASE).write_text(damaged)
        assert read_phase(tmp_path) is None


def test_an_evaluation_says_how_many_runs_are_over():
    import torch

    from adv import PGD, Battery, Linf, Split, evaluate
    from adv.evaluation.engine import attack_progress

    heard: list[tuple[int, int]] = []
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3))
    images = torch.randint(0, 256, (20, 3, 4, 4), dtype=torch.uint8)
    split = Split(images, torch.randint(0, 3, (20,)))
    battery = Battery(tuple((f"pgd-{n}", PGD(Linf(n / 255), steps=2)) for n in (1, 2, 4)))
    with attack_progress.listen(lambda done, total: heard.append((done, total))):
        evaluate(net, split, battery)
    assert heard[0] == (0, 3) and heard[-1] == (3, 3)
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)


def test_without_a_name_or_a_result_the_view_is_drawn_too():
    view = View()
    view.apply(header(name="", space="", question=""))
    console = terminal(80)
    console.print(LiveProgress(console, 3, view)._draw())
    assert "0/3 done, 0 running" in text_of(console) and "none yet" in text_of(console)
