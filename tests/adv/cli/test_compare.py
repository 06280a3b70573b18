"""`python -m adv compare` as a user runs it."""

import pytest
from adv_commands import SMOKE, assert_mistake

pytestmark = pytest.mark.usefixtures("empty_folder")
FEW = ("--images", 20, "--battery", "quick", "--steps", 1)


def test_a_net_is_compared_with_itself_and_with_a_second_one(adv, checkpoint, tmp_path):
    other = tmp_path / "other.safetensors"
    trained = adv("train", *SMOKE, "--image-size", 32, "--epochs", 1, "--seed", 1, "--out", other)
    assert trained[0] == 0, trained
    code, out, err = adv("compare", checkpoint, checkpoint, other, *FEW)
    assert (code, err) == (0, "")
    assert "20 validation images, the same for all" in out
    assert "McNemar" in out and "B - A" in out and "C - A" in out
    same = out[out.index("B - A") : out.index("C - A")]
    assert same.count("+0.0") >= 5 and same.count("cannot be told apart") == 2


def test_nets_of_other_images_are_refused(adv, checkpoint, tmp_path):
    small = tmp_path / "small.safetensors"
    assert adv("train", *SMOKE, "--epochs", 1, "--out", small)[0] == 0
    called = adv("compare", checkpoint, small, *FEW)
    assert_mistake(called, "have other images: --data NAME names the same for both")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["compare"], "two checkpoints or more"),
        (["compare", "a"], "two checkpoints or more to compare, not 1"),
        (["compare", "a", "b"], "no checkpoint at a"),
        (["compare", "a", "b", "--battery", "quik"], "did you mean 'quick'"),
        (["compare", "a", "b", "--split", "train"], "'validation', 'test'"),
        (["compare", *"abcdefghijklmnopqrstuvwxyzä"], "27 nets at a time are too many"),
    ],
)
def test_a_mistake_is_one_line(adv, arguments, hint):
    assert_mistake(adv(*arguments), hint)
