"""Attacks and batteries by name: `python -m adv attack`, `evaluate` and `curve`."""

import re

import numpy as np
import pytest
from adv_commands import assert_mistake, attack

pytestmark = pytest.mark.usefixtures("empty_folder")


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--attack", "fgsm"], ["fgsm-linf-0.03137"]),
        (["--attack", "apgd", "--steps", 2, "--loss", "margin"], ["apgd-linf-0.03137"]),
        (["--steps", 1, "--loss", "dlr-targeted", "--target", 2], ["pgd-linf-0.03137"]),
        (["--norm", "l2", "--steps", 1], ["pgd-l2-0.5"]),
        (["--attack", "fmn", "--steps", 9], ["fmn-linf-0.03137"]),
        (["--attack", "ddn", "--norm", "l2", "--steps", 9], ["ddn-l2-0.5"]),
        (["--attack", "pma", "--steps", 2, "--restarts", 2], ["pma-linf-0.03137"]),
        (["--steps", 4, "--loss", "mifpe", "--schedule", "cosine"], ["pgd-linf-0.03137"]),
        (["--steps", 1, "--loss", "dlr", "--rank", 2], ["pgd-linf-0.03137"]),
        (["--steps", 1, "--target", "all", "--restarts", 2], ["pgd-linf-0.03137"]),
        (
            ["--steps", 1, "--target", "least-likely", "--loss", "margin"],
            ["fooled images taken for the target class least-likely: pgd-linf-0.03137 "],
        ),
        (
            ["--attack", "square", "--queries", 9, "--target", 3, "--eps", 0.5],
            ["taken for the target class '3': square-linf-0.5 ", "queries to success"],
        ),
        (["--attack", "square", "--queries", 2, "--target", "all"], ["square-linf-0.03137"]),
        (["--attack", "square", "--queries", 12, "--eps", 0.5], ["queries to success: median "]),
        (["--attack", "square", "--queries", 2, "--eps", 0], ["queries to success: no success"]),
        (["--attack", "nes", "--queries", 9, "--samples", 2, "--loss", "ce"], ["nes-linf"]),
    ],
    ids=str,
)
def test_attacks_by_name(adv, user_module, arguments, shown):
    code, out, err = adv(
        *("attack", "--module", f"{user_module}:Good", "--data", "digits", "--images", 40),
        *arguments,
    )
    assert (code, err) == (0, "")
    for text in shown:
        assert text in out


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("12", "A target is a class by name (0, 1, 2, "),
        ("least_likely", "did you mean 'least-likely'?"),
        ("-1", "or index (0 to 9), least-likely or all"),
    ],
)
def test_an_unknown_target_class_is_one_line(adv, user_module, target, said):
    module = ("--module", f"{user_module}:Good", "--data", "digits", "--images", 8)
    for verb in ("attack", "evaluate"):
        assert_mistake(adv(verb, *module, "--target", target), said)


def test_a_curve_is_printed_and_its_distances_are_saved(adv, user_module, tmp_path):
    module = ("--module", f"{user_module}:Good", "--data", "digits", "--images", 30)
    saved = tmp_path / "d.npz"
    code, out, err = adv("curve", *module, "--steps", 20, "--save", saved)
    assert (code, err) == (0, "")
    for said in ("FMN with 20 steps", "area under the curve up to eps 0.1", "of 600", str(saved)):
        assert said in out
    distance = np.load(saved)["distance"]
    (share,) = re.findall(r"^ *0.03 +([\d.]+) %", out, re.MULTILINE)
    assert float(share) == pytest.approx(100 * (distance > np.float32(0.03)).mean(), abs=0.06)
    assert_mistake(adv("curve", *module, "--save", saved), "exists: name another file")
    code, out, _ = adv("curve", *module, "--norm", "l2", "--attack", "ddn", "--eps", 0.6)
    assert code == 0 and "DDN" in out and "of 600" not in out
    noisy = ("--module", f"{user_module}:Noisy", "--data", "digits", "--images", 4)
    code, _, err = adv("curve", *noisy)
    assert code == 2 and "the net is random, so no image is the nearest" in err.splitlines()[-1]
    assert_mistake(adv("curve", *module, "--attack", "ddn"), "DDN searches L2(eps), not Linf")
    assert_mistake(adv("curve", *module, "--attack", "fnm"), "did you mean 'fmn'")


def test_a_transfer_attack(adv, user_module, checkpoint, tmp_path):
    """Made on the checkpoint, tried on the module: the module itself needs no gradient."""
    code, out, err = adv(*attack(user_module, "Hard", "--source", checkpoint, "--draws", 1))
    assert (code, err) == (0, "") and "transfer-pgd-linf" in out
    assert_mistake(
        adv(*attack(user_module, "Hard", "--source", tmp_path / "x")), "no checkpoint at"
    )


@pytest.mark.parametrize(
    ("name", "kind", "shown"),
    [
        ("Good", "quick", ["pgd10-0.03", "aggregated"]),
        ("Good", "quick --target 4", ["taken for the target class '4': pgd10-0.03 "]),
        ("Good", "quick --target all", ["pgd10-0.03", "aggregated"]),
        ("Good", "autoattack", ["apgd-ce", "apgd-t", "robust to all attacks"]),
        ("Good", "rand", ["apgd-dlr", "not random: --battery autoattack is a stronger test"]),
        ("Noisy", "report", ["the net is random: --battery rand is a stronger test"]),
    ],
)
def test_batteries_by_name(adv, user_module, name, kind, shown):
    code, out, _ = adv(
        *("evaluate", "--module", f"{user_module}:{name}", "--data", "digits", "--images", 8),
        *("--battery", *kind.split(), "--draws", 1, "--votes", 1),
    )
    assert code == 0
    for text in shown:
        assert text in out


def test_autoattack_is_not_for_random_nets(adv, user_module):
    arguments = ("evaluate", "--module", f"{user_module}:Good", "--random", "--data", "digits")
    assert_mistake(adv(*arguments, "--battery", "autoattack"), "the net is random: --battery rand")


def test_a_random_net_is_asked_the_full_number_of_queries(adv, user_module):
    """So their count says nothing, and is left out."""
    code, out, _ = adv(
        *attack(user_module, "Good", "--random"), "--attack", "square", "--queries", 2
    )
    assert code == 2  # --steps is no flag of square
    arguments = [a for a in attack(user_module, "Good", "--random") if a not in ("--steps", 1)]
    code, out, _ = adv(*arguments, "--attack", "square", "--queries", 2, "--draws", 1)
    assert code == 0 and "square-linf" in out and "queries to" not in out
