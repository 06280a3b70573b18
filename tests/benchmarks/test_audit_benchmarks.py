"""The benchmarks of the audit: broken and sound nets, and how often gaps are flagged."""

from __future__ import annotations

import numpy as np
import pytest
from audit import main as audit_main
from broken_nets import BROKEN
from click.testing import CliRunner
from gap_calibration import flag_shares
from gap_calibration import main as calibration_main
from gap_nets import Row, read_rows, write_rows
from gap_prediction import find_slack, fit, predict_left_out


def test_a_gap_above_its_limit_is_flagged_and_one_below_is_not():
    (sound, old), (masked, _) = (flag_shares((0.8, c, 0.5), 1000, 0.22) for c in (0.55, 0.65))
    assert sound == 0 < old and masked == 1


def test_the_calibration_is_a_table(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text(
        "method,clean_acc,pgd_50_acc,autoattack_acc\nsound,80,55,50\nmasking,80,75,50\n"
    )
    done = CliRunner().invoke(calibration_main, [str(path), "--masked", "masking"])
    assert done.exit_code == 0, done.output
    assert "| sound | 5.0 | 6.6 | 17 % |" in done.output
    assert "n = 10,000: false alarms at most 0.0 %, hits at least 100.0 %" in done.output
    done = CliRunner().invoke(calibration_main, [str(path), "--attack", "pgd_7"])
    assert done.exit_code == 2 and "no column 'pgd_7_acc'" in done.output


@pytest.mark.slow
def test_the_audits_are_two_tables():
    args = ["--images", "16", "--epochs", "1", "--only", "one s"]
    done = CliRunner().invoke(audit_main, args, catch_exceptions=False)
    assert "false alarms on sound nets" in done.output and "| one step |" in done.output
    args = ["--images", "16", "--epochs", "1", "--only", "one of four"]
    done = CliRunner().invoke(audit_main, args, catch_exceptions=False)
    assert "hits on broken nets: 1 of 1" in done.output
    assert "| one of four columns masked | gradient against differences" in done.output


def test_there_are_broken_nets_enough():
    assert len(BROKEN) >= 20


def make_row(family: str, confidence: float, missed: float) -> Row:
    return Row(
        *("digits", family, family, "", 0.1, 1000, 10, 0.0, 0, 0),
        *(0.9, confidence, 0.5 + 0.4 * missed, 0.5),
    )


def test_the_fit_finds_a_line_also_for_a_family_left_out(tmp_path):
    points = [("a", 0.9), ("a", 0.6), ("b", 0.8), ("b", 0.3), ("c", 0.5)]
    rows = [make_row(family, sure, 0.05 + 0.3 * (1 - sure)) for family, sure in points]
    path = tmp_path / "rows.csv"
    write_rows(path, rows[:2])
    write_rows(path, rows[2:])
    read = read_rows(path)
    assert [row.family for row in read] == list("aabbc")
    values = np.array([0.05 + 0.3 * (1 - sure) for _, sure in points])
    assert fit(read, ["doubt"], values) == pytest.approx([0.05, 0.3], abs=1e-3)
    assert predict_left_out(read, ["doubt"]) == pytest.approx(values, abs=1e-3)
    assert find_slack(read, values) < 0.06 < find_slack(read, values - 0.1)
