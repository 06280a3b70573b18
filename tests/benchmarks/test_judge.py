"""Scores beside AutoAttack's attacks: ranks, fronts, the greedy choice, and both commands."""

import math

import judge
import judge_choose
import judge_table
import numpy as np
import pytest
from click.testing import CliRunner

import adv


def test_a_front_holds_what_nothing_beats_in_both():
    natural, score = np.array([0.7, 0.9, 0.8, 0.8]), np.array([2.0, 1.0, 3.0, 2.5])
    assert judge.find_front(natural, score) == [1, 2]


def test_ranks_are_compared_and_a_constant_has_none():
    assert judge.correlate(np.array([1.0, 2, 3]), np.array([10.0, 20, 30])) == pytest.approx(1)
    assert judge.correlate(np.array([1.0, 2, 3]), np.array([3.0, 2, 1])) == pytest.approx(-1)
    assert math.isnan(judge.correlate(np.ones(3), np.array([1.0, 2, 3])))


def test_the_line_up_takes_first_what_fools_most_for_its_cost():
    natural = np.ones((1, 1, 4), dtype=bool)
    cheap = judge_choose.Trial(1.0, np.array([[[False, False, True, True]]]))
    dear = judge_choose.Trial(10.0, np.array([[[False, False, False, True]]]))
    lines = judge_choose.format_line_up(natural, {"dear": dear, "cheap": cheap}).splitlines()[2:]
    assert [line.split(" | ")[0] for line in lines] == ["| cheap", "| dear"]
    assert "+25.00" in lines[0] and "+0.00" in lines[1]


def test_nets_are_judged_once_and_kept(tmp_path, monkeypatch):
    recipe = adv.Recipe(net=adv.BaseNet())
    for seed in (0, 1):
        net = adv.build(recipe, 10, seed)
        adv.save(tmp_path / f"{seed}.safetensors", net, recipe, classes=[str(k) for k in range(10)])
    nets = [str(path) for path in sorted(tmp_path.glob("*.safetensors"))]
    settings = ["--data", "digits", "--images", "6", "--steps", "2", "--queries", "2"]
    words = [*nets, *settings, "--out", str(tmp_path / "out")]
    first = CliRunner().invoke(judge.main, words, catch_exceptions=False)
    assert first.exit_code == 0 and "2 nets" in first.output
    rows = (tmp_path / "out" / "accuracies.csv").read_text().splitlines()
    assert rows[0] == "method,clean_acc,report_acc,margin_acc,autoattack_acc" and len(rows) == 13
    monkeypatch.setattr(judge, "measure", None)  # a second run measures nothing
    second = CliRunner().invoke(judge.main, words, catch_exceptions=False)
    assert second.output.splitlines()[-3:] == first.output.splitlines()[-3:]


def test_a_published_table_is_ranked(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("name,clean,pgd,aa\na,90,50,30\nb,80,60,40\nc,70,55,50\n")
    words = [str(path), "--natural", "clean", "--reference", "aa", "--score", "pgd"]
    said = CliRunner().invoke(judge_table.main, words).output
    assert "| pgd | +15.00 | 0.50 | 0.50 | a, b | c | none |" in said
    wrong = CliRunner().invoke(judge_table.main, [*words[:-1], "pdg"])
    assert wrong.exit_code == 2 and "there are: name, clean, pgd, aa" in wrong.output
