"""Transfer: images made on a sibling."""

from __future__ import annotations

import copy
import pickle

import torch
from reproducibility import seeded_generator
from small_nets import RecordingNet, self_labelled_problem

from adv import PGD, Battery, Linf, Split, Transfer, evaluate


def test_transfer_tries_the_images_of_a_sibling():
    net, x, y = self_labelled_problem()
    sibling = copy.deepcopy(net)
    with torch.no_grad():
        for weight in sibling.parameters():
            weight += 0.3 * weight.std() * torch.randn(weight.shape, generator=seeded_generator(5))
    target = RecordingNet(net)
    made = PGD(Linf(0.05), steps=10)
    attack = Transfer(made, sibling)
    assert attack.ball == Linf(0.05)
    adv = attack(target, x, y, generator=seeded_generator())
    assert torch.equal(adv, made(sibling, x, y, generator=seeded_generator())) and not target.calls
    falls = [(net(images).argmax(1) != y).sum() for images in (x, adv, made(net, x, y))]
    assert falls[0] < falls[1] < falls[2]  # weaker than the net's own gradients


def test_transfer_in_an_evaluation():
    net, x, _ = self_labelled_problem()
    images = (255 * x).round().to(torch.uint8)
    split = Split(images, net(images.float() / 255).argmax(1))
    other = self_labelled_problem(1)[0]
    for weight in other.parameters():
        weight.data = weight.data.flip(0)  # another net
    pgd = PGD(Linf(0.05), steps=5)
    names = (("own", Transfer(pgd, net)), ("other", Transfer(pgd, other)), ("white", pgd))
    rows = {name: evaluate(net, split, Battery(((name, attack),))).mean for name, attack in names}
    assert rows["white"] <= rows["own"] + 0.1 < rows["other"]


def test_transfer_equals_what_holds_the_same_net():
    net = self_labelled_problem(1)[0]
    one, two = (Transfer(PGD(Linf(0.1)), net) for _ in range(2))
    assert one == two and hash(one) == hash(two) and "Conv2d" not in repr(one)
    assert one != Transfer(PGD(Linf(0.1)), copy.deepcopy(net))
    twin = pickle.loads(pickle.dumps(one))
    assert torch.equal(
        *(a(net, *self_labelled_problem(4)[1:], generator=seeded_generator()) for a in (one, twin))
    )
