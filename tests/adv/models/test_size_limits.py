"""A net that is too large is refused when its settings are made, before anything is allocated."""

from __future__ import annotations

import pytest

from adv import WRN, BigNet, ViT, size_of
from adv.models import lenet, resnet, vit


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda: BigNet(10**6), "width must be 10000 or less, got 1000000"),
        (lambda: BigNet(10**5000), "width must be 10000 or less, got more than 1e20"),
        (lambda: BigNet(65), r"about 1e\+09 parameters: at most 1e\+09"),
        (lambda: WRN(10**7 + 2), "depth must be 10000 or less"),
        (lambda: WRN(28, 60), "would have about"),
        (lambda: ViT(10**6), "depth must be 10000 or less"),
        (lambda: ViT(1000, 640), "would have about 5.7e"),
    ],
)
def test_nets_that_are_too_large(make, hint):
    with pytest.raises(ValueError, match=hint):
        make()


@pytest.mark.parametrize(
    ("room", "net"), [(lenet, BigNet(4)), (resnet, WRN(28, 10)), (vit, ViT(7, 256))], ids=repr
)
def test_the_estimate_is_close(monkeypatch, room, net):
    seen = []
    monkeypatch.setattr(room, "check_parameters", lambda net, count: seen.append(count))
    net.__post_init__()
    assert seen == [pytest.approx(size_of(net).parameters, rel=0.1)]
