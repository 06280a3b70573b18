"""APGD against the paper by hand, its losses against their formulas, and its state."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from reproducibility import seeded_generator
from small_nets import self_labelled_problem
from torch import Tensor, nn

from adv import APGD, L2, PGD, Linf, Votes, frozen
from adv.attacks.attack import initial_state
from adv.attacks.losses import LOSSES, dlr, dlr_targeted, loss_target, margin
from adv.runtime.random_layers import Noise

SHAPE = (3, 8, 8)
INF, TWO = Linf(0.05), L2(0.5)
balls = pytest.mark.parametrize("ball", [INF, TWO], ids=["linf", "l2"])


class Classes(nn.Module):
    """k classes apart by linear logits: the distance to each boundary is known."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.w = nn.Parameter(0.2 * torch.randn(classes, *SHAPE, generator=seeded_generator(5)))
        self.b = nn.Parameter(torch.zeros(classes))

    def forward(self, x):
        return x.flatten(1) @ self.w.flatten(1).T + self.b


class Recording(nn.Module):
    """Keep the images of every call."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.seen: list[torch.Tensor] = []

    def forward(self, x):
        self.seen.append(x.detach().clone())
        return self.net(x)


# --- losses ---

LOGITS = torch.tensor([[5.0, 1.0, 3.0, 2.0, -4.0]])


@pytest.mark.parametrize(
    ("label", "expected"), [(0, -2.0 / 3.0), (2, 2.0 / 3.0), (4, 9.0 / 3.0)], ids=str
)
def test_dlr_by_hand(label, expected):
    """(best wrong - right) / (first - third): the third of 5, 3, 2, 1, -4 is 2."""
    assert dlr(LOGITS, torch.tensor([label])).item() == pytest.approx(expected)
    assert margin(LOGITS, torch.tensor([label])).item() == pytest.approx(3 * expected)


@pytest.mark.parametrize(
    ("label", "target", "expected"), [(0, 2, -2 / 3.5), (0, 4, -9 / 3.5), (2, 0, 2 / 3.5)], ids=str
)
def test_targeted_dlr_by_hand(label, target, expected):
    """(target - right) / (first - mean of third and fourth): 5 - (2 + 1) / 2 = 3.5."""
    found = dlr_targeted(LOGITS, torch.tensor([[label, target]])).item()
    assert found == pytest.approx(expected)


def test_dlr_does_not_depend_on_the_scale_of_the_logits():
    logits = torch.randn(50, 7, generator=seeded_generator()).double()
    labels = torch.arange(50) % 7
    pair = torch.stack([labels, (labels + 1) % 7], 1)
    for scale in (1e-3, 1e4):
        assert torch.allclose(dlr(scale * logits + 3, labels), dlr(logits, labels), rtol=1e-4)
        ours, wanted = dlr_targeted(scale * logits, pair), dlr_targeted(logits, pair)
        assert torch.allclose(ours, wanted, rtol=1e-4)
    assert ((dlr(logits, labels) > 0) == (logits.argmax(1) != labels)).all()
    assert ((margin(logits, labels) > 0) == (logits.argmax(1) != labels)).all()


@pytest.mark.parametrize("name", ["margin", "dlr"])
def test_label_probabilities_count_as_their_largest(name):
    logits, labels = torch.randn(9, 4, generator=seeded_generator()), torch.arange(9) % 4
    soft = 0.1 + 0.6 * F.one_hot(labels, 4).float()
    assert torch.equal(LOSSES[name](logits, soft), LOSSES[name](logits, labels))


def test_targets_are_the_likeliest_wrong_classes():
    labels = torch.tensor([0, 3])
    both = LOGITS.repeat(2, 1)
    nth = [loss_target("dlr-targeted", labels, both, k)[:, 1].tolist() for k in (1, 2, 3, 4)]
    assert nth == [[2, 0], [3, 2], [1, 1], [4, 4]]
    assert torch.equal(loss_target("dlr-targeted", labels, both, None)[:, 0], labels)
    with pytest.raises(ValueError, match="a net with 5 classes has 4 wrong ones"):
        loss_target("dlr-targeted", labels, both, 5)


@pytest.mark.parametrize(("loss", "needs"), [("margin", 2), ("dlr", 3), ("dlr-targeted", 4)])
@pytest.mark.parametrize("kind", [PGD, APGD])
def test_a_loss_says_how_many_classes_it_needs(kind, loss, needs):
    attack = kind(INF, steps=1, loss=loss)
    x = torch.rand(2, *SHAPE, generator=seeded_generator())
    for classes in (1, 2, 3, 4):
        assert attack.supports(classes) == (classes >= needs)
        y = torch.zeros(2, dtype=torch.long)
        if classes >= needs:
            assert attack(Classes(classes), x, y).shape == x.shape
        elif classes > 1:
            said = f"^{loss} needs {needs} classes or more, the net has {classes}$"
            with pytest.raises(ValueError, match=said):
                attack(Classes(classes), x, y)
    assert not kind(INF, loss="dlr-targeted", target=7).supports(7)
    assert kind(INF, loss="dlr-targeted", target=7).supports(8)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 0}, "steps must be 1 or more, got 0"),
        ({"loss": "dlp"}, "a loss is one of ce, kl, margin, dlr, dlr-targeted, .*, got 'dlp'"),
        ({"target": 2}, "the loss 'ce' has no target: take 'ce-targeted', 'margin-targeted' or"),
        ({"loss": "dlr-targeted", "target": 0}, "target is 1 .* or more, got 0"),
        ({"target_class": 2}, "the loss 'ce' has no target"),
        ({"loss": "ce-targeted", "target": 1, "target_class": 2}, "exclude each other"),
        (
            {"loss": "ce-targeted", "target_class": -1},
            "a class from 0 on or 'least-likely', got -1",
        ),
        ({"loss": "ce-targeted", "target_class": "most-likely"}, "got 'most-likely'"),
    ],
)
@pytest.mark.parametrize("kind", [PGD, APGD])
def test_invalid_settings_are_rejected(kind, settings, said):
    with pytest.raises(ValueError, match=said):
        kind(INF, **settings)


# --- closed form, k classes ---


@balls
@pytest.mark.parametrize("loss", ["margin", "dlr", "dlr-targeted"])
@pytest.mark.parametrize("side", [0.97, 1.03], ids=["just within", "just beyond"])
def test_fools_a_linear_net_beyond_the_nearest_boundary_and_not_within(ball, loss, side):
    """Of the k - 1 distances |gap| / |w_y - w_t| in the dual norm, the least counts."""
    net, x = Classes(6), 0.4 + 0.2 * torch.rand(4, *SHAPE, generator=seeded_generator(1))
    net.b.data -= net(x).mean(0).detach()
    logits = net(x).detach()
    y, order = logits.argmax(1), logits.argsort(1, descending=True)
    dual = 1 if isinstance(ball, Linf) else 2
    for i in range(4):
        apart = (net.w[y[i]] - net.w).detach().flatten(1).norm(dual, dim=1)
        distance = ((logits[i, y[i]] - logits[i]) / apart).nan_to_num(torch.inf)
        nearest = int(distance.argmin())
        rank = int((order[i] == nearest).nonzero())  # the label comes first, at rank 0
        attack = APGD(
            replace(ball, eps=side * distance[nearest].item()),
            steps=40,
            loss=loss,
            target=rank if loss == "dlr-targeted" else None,
        )
        adv = attack(net, x[i : i + 1], y[i : i + 1], generator=seeded_generator())
        assert adv.min() > 0 and adv.max() < 1  # else the distance would not be this one
        assert (net(adv).argmax(1) != y[i]).item() == (side > 1), (i, rank)


# --- the algorithm ---


def by_hand(net, x0: float, clean: float, eps: float, steps: int) -> tuple[list[float], list]:
    """Return the points and step sizes of the paper's algorithm 1 for one pixel."""

    def look(x):
        x = torch.tensor(x).reshape(1, 1, 1, 1).requires_grad_()
        loss = F.cross_entropy(net(x), torch.tensor([0]))
        return loss.item(), float(torch.autograd.grad(loss, x)[0])

    def project(x):
        return min(max(x, clean - eps, 0.0), clean + eps, 1.0)

    def sign(v):
        return (v > 0) - (v < 0)

    p = [0.0, 0.22]
    while p[-1] < 1:
        p.append(p[-1] + max(p[-1] - p[-2] - 0.03, 0.06))
    w = [math.ceil(round(q * steps, 6)) for q in p]
    eta, x, before = 2 * eps, x0, x0
    f, g = look(x)
    best, best_f, best_g = x, f, g
    last, j, rises, eta_then, best_then = 0, 1, 0, eta, f
    path, sizes = [x], [eta]
    for k in range(1, steps + 1):
        z = project(x + eta * sign(g))
        alpha = 1.0 if k == 1 else 0.75
        x, before = project(x + alpha * (z - x) + (1 - alpha) * (x - before)), x
        path.append(x)
        f_before = f
        f, g = look(x)
        rises += f > f_before
        if f > best_f:
            best, best_f, best_g = x, f, g
        if k == w[j]:
            first = rises < 0.75 * (k - last)
            second = eta == eta_then and best_f == best_then
            eta_then, best_then = eta, best_f
            if first or second:
                eta, x, f, g = eta / 2, best, best_f, best_g
            last, j, rises = k, j + 1, 0
        sizes.append(eta)
    return path, sizes


class Wave(nn.Module):
    """Two classes of one pixel, whose loss has many hills."""

    def __init__(self, pitch: float) -> None:
        super().__init__()
        self.pitch = pitch

    def forward(self, x):
        level = (self.pitch * x.flatten()).sin() + 2 * x.flatten()
        return torch.stack([0 * level, level - 3], 1)


@pytest.mark.parametrize("pitch", [9.0, 40.0])
@pytest.mark.parametrize("steps", [10, 100])
@pytest.mark.parametrize("ball", [Linf(0.4), L2(0.4)], ids=["linf", "l2"])
def test_it_is_the_papers_algorithm(pitch, steps, ball):
    """In one dimension both norms are the same. A few starts, at different places of the hills."""
    net, attack = Wave(pitch).double(), APGD(ball, steps=steps)
    clean = torch.tensor([0.2, 0.45, 0.5, 0.71]).double().reshape(-1, 1, 1, 1)
    y = torch.zeros(4, dtype=torch.long)
    state = attack.start(clean, y, seeded_generator(2))
    begun = state.adv.flatten().tolist()
    assert begun == pytest.approx([0.6, 0.05, 0.9, 0.31], abs=1) and len(set(begun)) == 4
    with frozen(net):
        state = attack.prepare(net, state)
        sizes: list[Any] = [state.step_size]
        recording = Recording(net)
        for _ in range(steps):
            state = attack.step(recording, state)
            sizes.append(state.step_size)
    ours = torch.stack(recording.seen).flatten(1)
    halvings = set()
    for i in range(4):
        path, steps_by_hand = by_hand(
            net, begun[i], clean.flatten()[i].item(), ball.eps, attack.steps
        )
        assert ours[:, i].tolist() == pytest.approx(path[1:], abs=1e-5)
        assert torch.stack(sizes)[:, i].tolist() == pytest.approx(steps_by_hand)
        halvings |= {k for k in range(1, steps + 1) if steps_by_hand[k] < steps_by_hand[k - 1]}
    assert halvings
    if steps == 100:
        assert halvings <= {22, 41, 57, 70, 80, 87, 93, 99}


@balls
def test_the_step_is_halved_at_checkpoints_only_and_the_ascent_goes_on_from_the_best(ball):
    net, x, y = self_labelled_problem(48)
    attack = APGD(ball)
    halved_at = set()
    with frozen(net):
        state: Any = attack.prepare(net, attack.start(x, y, seeded_generator()))
        assert (state.step_size == 2 * ball.eps).all()
        for age in range(1, 101):
            new: Any = attack.step(net, state)
            assert isinstance(new.step_size, Tensor) and isinstance(state.step_size, Tensor)
            shrunk = new.step_size < state.step_size
            assert torch.equal(new.step_size[shrunk], state.step_size[shrunk] / 2)
            assert torch.equal(new.adv[shrunk], new.best[shrunk])
            assert torch.equal(new.loss[shrunk], new.best_loss[shrunk])
            assert (new.best_loss >= state.best_loss).all() and (new.age == age).all()
            halved_at |= {age} if shrunk.any() else set()
            state = new
    assert {22, 41} < halved_at <= {22, 41, 57, 70, 80, 87, 93, 99}


@balls
def test_it_starts_on_the_sphere(ball):
    x = 0.5 + 0.0 * torch.rand(20, *SHAPE)
    begun = APGD(ball).start(x, torch.zeros(20, dtype=torch.long), seeded_generator()).adv
    assert torch.allclose(ball.distance(begun, x), torch.full((20,), ball.eps), rtol=1e-4)


# --- the result ---


@balls
@pytest.mark.parametrize("loss", ["ce", "margin", "dlr"])
def test_the_result_is_the_best_point_that_was_seen(ball, loss):
    """It has the highest loss among the points that fool, or among all if none does."""
    net, x, y = self_labelled_problem(48)
    recording = Recording(net)
    attack = APGD(replace(ball, eps=ball.eps / 4), steps=25, loss=loss)
    adv = attack(recording, x, y, generator=seeded_generator())
    seen = torch.stack(recording.seen)
    assert len(seen) == 26
    losses = torch.stack([LOSSES[loss](net(points), y) for points in seen])
    fools = torch.stack([net(points).argmax(1) != y for points in seen])
    best = torch.where(fools | ~fools.any(0), losses, -torch.inf).amax(0)
    assert torch.allclose(LOSSES[loss](net(adv), y), best, atol=1e-5)
    fooled = net(adv).argmax(1) != y
    assert torch.equal(fooled, fools.any(0)) and 0 < fooled.sum() < 48


@balls
@pytest.mark.parametrize("loss", ["ce", "margin"])
def test_its_loss_is_not_below_that_of_pgd(ball, loss):
    net, x, y = self_labelled_problem(48)
    gains = [
        LOSSES[loss](net(attack(net, x, y, generator=seeded_generator())), y).mean().item()
        for attack in (PGD(ball, steps=100, loss=loss), APGD(ball, loss=loss))
    ]
    assert gains[1] > gains[0] - 1e-3 * abs(gains[0])


def test_a_loss_that_is_not_a_number_is_never_the_best():
    class Holed(nn.Module):
        def forward(self, x):
            level = x.mean((1, 2, 3))
            hole = torch.where(level > 0.52, torch.nan, 1.0)
            return torch.stack([0 * hole, level - 0.6, 0 * level - 9], 1)  # argmax: 0

    x, y = torch.full((8, *SHAPE), 0.5), torch.zeros(8, dtype=torch.long)
    for loss in ("ce", "dlr", "margin"):
        adv = APGD(INF, loss=loss)(Holed(), x, y, generator=seeded_generator())
        level = adv.mean((1, 2, 3))
        assert torch.isfinite(adv).all() and (level <= 0.52).all() and (level > 0.5).all()


def test_dlr_is_unaffected_by_saturated_logits():
    """Logits times 1e4: the cross-entropy of a right image is 0, and so is its gradient."""

    class Loud(nn.Module):
        def forward(self, x):
            return 1e4 * net(x)

    net, x, y = self_labelled_problem(48)
    ball, left = Linf(0.01), {}
    for loss in ("ce", "dlr", "dlr-targeted"):
        for loud in (False, True):
            adv = APGD(ball, steps=40, loss=loss)(
                Loud() if loud else net, x, y, generator=seeded_generator()
            )
            left[loss, loud] = int((net(adv).argmax(1) == y).sum())
    assert left["ce", True] > left["ce", False] + 10
    assert abs(left["dlr", True] - left["dlr", False]) <= 1
    assert abs(left["dlr-targeted", True] - left["dlr-targeted", False]) <= 1


def test_a_random_net_is_attacked_through_its_votes():
    net, x, y = self_labelled_problem(16)
    noisy = nn.Sequential(Noise(0.05), net)
    adv = APGD(INF, steps=20)(Votes(noisy, 5), x, y, generator=seeded_generator())
    before, after = (F.cross_entropy(net(images), y) for images in (x, adv))
    assert after > before + 1 and (INF.distance(adv, x) <= INF.eps + 1e-6).all()


# --- states ---


def joined(one, two):
    """Return one batch made of two."""
    names = [field.name for field in fields(one)]
    pairs = [(name, getattr(one, name), getattr(two, name)) for name in names]
    tensors = {n: torch.cat([a, b]) for n, a, b in pairs if isinstance(a, torch.Tensor)}
    return replace(one, **tensors)


@balls
@pytest.mark.parametrize("loss", ["ce", "dlr", "dlr-targeted"])
def test_images_at_different_iterations_share_a_batch(ball, loss):
    net, x, y = self_labelled_problem(48)
    net, x = net.double(), x.double()
    attack = APGD(ball, steps=40, loss=loss)
    begun = attack.start(x, y, seeded_generator())

    def run(state, steps):
        for _ in range(steps):
            state = attack.step(net, state)
        return state

    with frozen(net):
        alone = run(attack.prepare(net, begun), 40)
        early = run(attack.prepare(net, begun.keep(torch.arange(20))), 15)
        late = attack.prepare(net, begun.keep(torch.arange(20, 48)))
        both = run(joined(early, late), 25)
        first = both.keep(torch.arange(20))
        second = run(both.keep(torch.arange(20, 48)), 15)
    for state, rows in ((first, slice(0, 20)), (second, slice(20, 48))):
        assert (state.age == 40).all() and torch.equal(state.step_size, alone.step_size[rows])
        assert torch.allclose(attack.result(state), attack.result(alone)[rows], atol=1e-5)
        assert torch.allclose(state.best_loss, alone.best_loss[rows], atol=1e-4)


def test_every_row_of_a_state_belongs_to_an_image():
    net, x, y = self_labelled_problem(7)
    attack = APGD(INF, loss="dlr-targeted")
    state = attack.step(net, attack.prepare(net, attack.start(x, y, seeded_generator())))
    tensors = {
        f.name: getattr(state, f.name) for f in fields(state) if f.name not in ("generator", "eps")
    }
    assert {len(tensor) for tensor in tensors.values()} == {7}
    kept = state.keep(torch.tensor([True, False] * 3 + [True]))
    assert all(len(getattr(kept, name)) == 4 for name in tensors)


@balls
@pytest.mark.parametrize("loss", sorted(LOSSES.keys() - {"mifpe"}))
@pytest.mark.parametrize("kind", [PGD, APGD])
def test_no_step_waits_for_the_device(kind, ball, loss):
    """On the meta device there are no values: an operation that needs one would fail."""
    net, attack = Classes(5).to("meta"), kind(ball, loss=loss)
    clean, y = torch.rand(4, *SHAPE, device="meta"), torch.zeros(4, device="meta").long()
    state = attack.prepare(
        net,
        initial_state(clean, y, clean, seeded_generator(), eps=ball.eps, step_size=2 * ball.eps),
    )
    for _ in range(2):
        state = attack.step(net, state)
    assert attack.result(state).shape == clean.shape
