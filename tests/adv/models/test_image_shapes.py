"""Nets, their size and their defences for images of other shapes than 3x32x32."""

import pytest
import torch

import adv
from adv import RSE, WRN, BaseNet, BigNet, Projection, Recipe, ResNet18, SpectralNorm, ViT, size_of
from adv.defences import layer_norms
from adv.runtime.image_shape import image_shape
from adv.shape import format_shape, parse_image_size

SHAPES = [(1, 28, 28), (3, 16, 16), (3, 48, 37), (4, 64, 64)]
NETS = [BaseNet(), BigNet(), WRN(10, 1), ResNet18(), ViT(1, 64, 1), ViT(1, 64, 3)]


@pytest.mark.parametrize("shape", SHAPES, ids=format_shape)
@pytest.mark.parametrize("net", NETS, ids=repr)
def test_a_net_takes_images_of_a_shape_and_its_size_is_counted_for_them(net, shape):
    module = adv.build(Recipe(net=net), 7, 0, shape).eval()
    assert module(torch.rand(2, *shape)).shape == (2, 7)
    assert image_shape(module) == shape
    assert size_of(net, 7, shape).parameters == sum(p.numel() for p in module.parameters())


def test_defences_see_the_shape_of_the_images():
    shape = (1, 20, 24)
    defences = (RSE(0.1, 0.1), SpectralNorm("convolution"), Projection(480))
    net = adv.build(Recipe(net=BigNet(), defences=defences), 3, 0, shape).eval()
    assert net(torch.rand(2, *shape)).shape == (2, 3)
    assert len(layer_norms(net)) == 6
    with pytest.raises(ValueError, match=r"lies in \[1, 480\] for images of 1x20x24, got 481"):
        adv.build(Recipe(net=BigNet(), defences=(Projection(481),)), 3, 0, shape)


def test_images_that_are_too_small_are_refused_with_the_flag_that_mends_it():
    with pytest.raises(ValueError, match=r"BaseNet takes images of 16x16 .* 1x15x40: --image-size"):
        BaseNet()(10, (1, 15, 40))


def test_a_restored_net_has_the_shape_that_it_was_saved_with(tmp_path):
    recipe = Recipe(net=BaseNet())
    net = adv.build(recipe, 2, 0, (1, 20, 24))
    adv.save(tmp_path / "net.safetensors", net, recipe, classes=("a", "b"))
    restored = adv.restore(tmp_path / "net.safetensors")
    assert image_shape(restored.net) == (1, 20, 24)
    x = torch.rand(2, 1, 20, 24)
    assert torch.equal(net.eval()(x), restored.net.eval()(x))
    adv.export(restored, tmp_path / "exported")


@pytest.mark.parametrize(
    ("text", "parsed"), [("64", (None, 64, 64)), ("48x64", (None, 48, 64)), ("1X28x8", (1, 28, 8))]
)
def test_an_image_size_is_written_with_or_without_channels(text, parsed):
    assert parse_image_size(text) == parsed


@pytest.mark.parametrize("text", ["", "x", "0", "8x0", "2x8x8", "1x2x3x4", "-4", "3.5", "99999"])
def test_what_is_no_image_size_is_refused(text):
    with pytest.raises(ValueError, match="image size"):
        parse_image_size(text)
