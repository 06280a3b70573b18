"""PNI: its noise, its gradient, and the nets it is put on."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from defence_cases import build_defended, images, outputs_with_seed
from torch import nn

from adv import PNI
from adv.defences.pni import WeightNoise
from adv.defences.weight_transforms import add_transform, weight_layers


def test_pni_noise_is_gaussian_of_the_weights_deviation_times_alpha():
    """200 draws of 1,000 weights: 200,000 normal values; the first layer's mean is not 0."""
    weight = torch.randn(50, 20, generator=torch.Generator().manual_seed(3)) * 0.4 + 1
    layer = WeightNoise(torch.full((1,), 0.25))
    noise = torch.stack([layer(weight) - weight for _ in range(200)]).detach() / weight.std()
    n = noise.numel()
    assert abs(noise.mean().item()) < 4 * 0.25 / math.sqrt(n)
    assert noise.std().item() == pytest.approx(0.25, rel=4 / math.sqrt(2 * n))
    inside = (noise.abs() < 0.25).float().mean().item()
    assert inside == pytest.approx(0.6827, abs=4 * math.sqrt(0.6827 * 0.3173 / n))
    for a, b in ((noise[:-1], noise[1:]), (noise[:, :-1], noise[:, 1:])):
        together = torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]
        assert abs(together.item()) < 4 / math.sqrt(n)


def test_pni_gradient_in_closed_form():
    """d/dw is that of the noisy weight, as the deviation counts as a constant; d/dalpha = n std."""
    for shape in ((1,), (5, 1), (5, 7)):
        weight = torch.randn(5, 7, requires_grad=True)
        layer = WeightNoise(torch.full(shape, 0.3))
        back = torch.randn(5, 7)
        noisy = layer(weight)
        (noisy * back).sum().backward()
        noise = (noisy - weight).detach() / 0.3
        assert weight.grad is not None and layer.alpha.grad is not None
        assert torch.allclose(weight.grad, back)
        wanted = (noise * back).sum_to_size(shape) if shape != (1,) else (noise * back).sum()[None]
        assert torch.allclose(layer.alpha.grad, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("granularity", "shapes"),
    [
        ("layer", [(1,)] * 5),
        ("channel", [(12, 1, 1, 1), (32, 1, 1, 1), (240, 1), (168, 1), (10, 1)]),
        ("element", [(12, 3, 5, 5), (32, 12, 5, 5), (240, 800), (168, 240), (10, 168)]),
    ],
)
def test_pni_has_one_alpha_for_each_layer_channel_or_element(granularity, shapes):
    module = build_defended("BigNet", PNI(0.1, granularity))
    alphas = {k: v for k, v in module.named_parameters() if k.endswith("alpha")}
    assert [tuple(alpha.shape) for alpha in alphas.values()] == shapes
    assert all((alpha == 0.1).all() for alpha in alphas.values())
    inner = build_defended("BigNet", PNI(0.1, granularity, where="inner"))
    left = [k for k, _ in inner.named_parameters() if k.endswith("alpha")]
    assert left == [*alphas][1:-1]
    plain = build_defended("BigNet").state_dict()
    assert all(torch.equal(plain[k], module.state_dict()[k]) for k in plain)  # nothing is renamed


def test_pni_noises_weights_not_biases_and_draws_once_for_a_batch():
    module = build_defended("BigNet", PNI())
    alike = images(1).expand(6, -1, -1, -1)
    out = outputs_with_seed(module, x=alike)
    assert torch.allclose(out, out[:1].expand(6, -1), atol=1e-5)
    layers = weight_layers(module, "").values()
    biases = [copy.deepcopy(layer.bias) for layer in layers]
    with torch.no_grad():
        for layer in layers:
            layer.weight.zero_()  # no weight, no deviation, no noise
    assert torch.equal(outputs_with_seed(module), outputs_with_seed(module, 2))
    for before, layer in zip(biases, layers, strict=True):
        assert before is not None and layer.bias is not None
        assert torch.equal(before, layer.bias)


def test_pni_never_asks_the_device_for_a_number(monkeypatch):
    module = build_defended("BigNet", PNI())
    for name in ("item", "tolist", "__float__", "__bool__", "cpu"):

        def refuse(*_, name=name):
            raise AssertionError(f"{name} waits for the device")

        monkeypatch.setattr(torch.Tensor, name, refuse)
    with pytest.raises(AssertionError, match="item waits"):
        torch.ones(1).item()
    module(images())


def test_pni_reports_its_alphas():
    module = build_defended("BigNet", PNI())
    assert PNI().figures(module) == {"pni_alpha": 0.25}
    alphas = [m.alpha for m in module.modules() if isinstance(m, WeightNoise)]
    with torch.no_grad():
        for i, alpha in enumerate(alphas):
            alpha.fill_((-1) ** i * 0.1 * i)
    assert PNI().figures(module)["pni_alpha"] == pytest.approx(0.2)


def test_a_layer_of_an_unknown_kind_is_refused():
    class Own(nn.Linear):
        pass

    with pytest.raises(ValueError, match=r"the weight of a Own \(0\) cannot be transformed"):
        PNI()(nn.Sequential(Own(2, 2)))


def test_transforms_apply_in_the_order_of_their_coming():
    class Times(nn.Module):
        def forward(self, weight):
            return weight * 3

    class Plus(nn.Module):
        def forward(self, weight):
            return weight + 1

    layer = nn.Linear(2, 1, bias=False)
    nn.init.ones_(layer.weight)
    x = torch.tensor([[1.0, 1.0]])
    once = add_transform(layer, Plus())
    assert once(x).item() == 4
    twice = add_transform(once, Times())
    assert twice(x).item() == 12 and (twice.weight == 1).all()
