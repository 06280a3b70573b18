"""The types and ranges of images and labels, the same for every attack."""

import pytest
import torch

from adv import (
    APGD,
    NES,
    NFGSM,
    PGD,
    BaseNet,
    Ladder,
    Linf,
    Square,
    Votes,
    Worst,
    evaluate,
    hunt,
    report_battery,
)
from adv.attacks.transfer import Transfer
from adv.data.datasets import Split

BALL = Linf(0.05)
SQUARE = Square(BALL, queries=4)
ATTACKS = {
    "pgd": PGD(BALL, steps=2),
    "n-fgsm": NFGSM(BALL),
    "apgd": APGD(BALL, steps=2),
    "apgd-targeted": APGD(BALL, steps=2, loss="dlr-targeted"),
    "kl": PGD(BALL, steps=2, loss="kl"),
    "square": SQUARE,
    "nes": NES(BALL, queries=11, samples=10),
    "worst": Worst((PGD(BALL, steps=1), SQUARE)),
    "ladder": Ladder(BALL, steps=2),
    "transfer": Transfer(PGD(BALL, steps=1), BaseNet()(10)),
    "hunt": lambda net, x, y: hunt(SQUARE, net, x, y).adv,
}
each_attack = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)


@pytest.fixture(scope="module")
def problem():
    """A net, images, and the labels that it gives them."""
    torch.manual_seed(0)
    net = BaseNet()(10).eval()
    x = torch.rand(4, 3, 32, 32)
    return net, x, net(x).argmax(1)


@each_attack
@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16])
def test_labels_of_every_whole_number_type_are_taken(attack, dtype, problem):
    net, x, y = problem
    assert torch.equal(attack(net, x, y.to(dtype)), attack(net, x, y))


@each_attack
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda y: y.float(), r"labels are whole numbers, got torch.float32: cast them with"),
        (lambda y: y > 3, r"labels are whole numbers, got torch.bool"),
        (lambda y: torch.full_like(y, -100), r"got -100 \(torch's ignore_index\): leave these"),
        (lambda y: torch.full_like(y, -1), r"labels are 0 or more, got -1$"),
        (lambda y: torch.full_like(y, 10), r"labels lie in 0 to 9, got 10$"),
        (lambda y: torch.eye(10)[y][:, :7], r"10 classes, the labels have 7"),
        (lambda y: y.tolist(), r"labels are a tensor, got a list"),
        (lambda y: y.numpy(), r"labels are a tensor, got a ndarray"),
        (lambda y: y[:3], r"4 images need as many labels"),
        (lambda y: torch.tensor(1), r"4 images need as many labels"),
    ],
)
def test_other_labels_are_refused_in_one_line(attack, change, said, problem):
    net, x, y = problem
    for model in (net, Votes(net, 2)):
        with pytest.raises(ValueError, match=said) as error:
            attack(model, x, change(y))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("label", [-1, -100, 10])
def test_evaluate_refuses_labels_that_are_no_classes(label, problem):
    net, x, _ = problem
    split = Split((x * 255).byte(), torch.full((4,), label))
    with pytest.raises(ValueError, match="labels"):
        evaluate(net, split, report_battery(steps=1))


@each_attack
def test_rounding_beyond_the_range_of_images_is_clamped(attack, problem):
    net, x, y = problem
    x = x.clone()
    x[0, 0, 0, 0], x[1, 0, 0, 0] = 1 + 1.2e-7, -1e-7
    given = x.clone()
    adv = attack(net, x, y)
    assert adv.min() >= 0 and adv.max() <= 1
    assert torch.equal(x, given)
    assert torch.equal(adv, attack(net, x.clamp(0, 1), y))


@each_attack
@pytest.mark.parametrize("value", [1.0001, -0.0001, float("nan"), float("inf")])
def test_images_further_outside_are_refused_with_their_range(attack, value, problem):
    net, x, y = problem
    x = x.clone()
    x[0, 0, 0, 0] = value
    with pytest.raises(ValueError, match=r"images must lie in \[0, 1\], got ") as error:
        attack(net, x, y)
    assert f"{value:.4f}".rstrip("0") in str(error.value) or value == float("inf")


@pytest.mark.parametrize("attack", [PGD, APGD])
def test_a_bare_radius_is_refused(attack):
    with pytest.raises(TypeError, match=r"L2\(eps\) or L1\(eps\), got 0.03"):
        attack(0.03)
