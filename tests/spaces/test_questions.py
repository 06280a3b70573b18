"""What single spaces ask: the tables of the report, the settings that come first."""

from __future__ import annotations

from typing import Any

import pytest
from random_configurations import random_configurations

import adv
import spaces
from spaces import Choice, Params, Space, Value


def test_rse_sigmas_searches_the_published_rectangle():
    space = spaces.load("rse_sigmas")
    knobs: dict[str, Any] = dict(space.knobs)
    assert {key: (knob.low, knob.high) for key, knob in knobs.items()} == {
        "sigma_init": (0, 0.4),
        "sigma_inner": (0, 0.3),
    }
    pairs = [(params["sigma_init"], params["sigma_inner"]) for params in space.known]
    assert pairs == [(0.2, 0.1), (0.0, 0.0)]
    recipe = space.build(**space.known[0])
    assert recipe == adv.Recipe(net=adv.BigNet(), defences=(adv.RSE(0.2, 0.1),))
    assert recipe.epochs == 60 and recipe.curriculum == adv.Curriculum()
    assert not adv.is_random(adv.build(space.build(**space.known[1]), 10, seed=0))


def test_width_exists_for_bignet_only():
    space = spaces.load("architecture")
    basenet: dict[str, Value] = {"model": "basenet", "activation": "relu", "dropout": 0.0}
    bignet: dict[str, Value] = {"model": "bignet", "activation": "gelu", "dropout": 0.0, "width": 2}
    for params in (basenet, bignet):
        space.check(params)
    assert "width" not in dict(space.active(basenet)) and "width" in dict(space.active(bignet))
    with pytest.raises(
        ValueError, match="no hyperparameter 'width' here: model, activation, dropout"
    ):
        space.check({**basenet, "width": 2})
    missing = "hyperparameter 'width' is missing: 1 to 8, when model = bignet"
    with pytest.raises(ValueError, match=missing):
        space.check({k: v for k, v in bignet.items() if k != "width"})
    assert {len(params) for params in random_configurations(space)} == {3, 4, 6}
    nets = {adv.BaseNet, adv.BigNet, adv.WRN, adv.ViT, adv.ResNet18}
    assert {type(space.build(**params).net) for params in random_configurations(space)} == nets
    small = space.for_scale("laptop")
    assert {type(space.build(**params).net) for params in random_configurations(small)} == nets - {
        adv.ResNet18
    }
    assert max(cost(small, params) for params in random_configurations(small)) < 110e6


def cost(space: Space, params: Params) -> int:
    return adv.size_of(space.build(**params).net).multiply_adds


def test_the_grids_of_the_report():
    """Each is a grid: its known points are all there is, at both scales."""
    sizes = spaces.load("report_sizes")
    nets: list[Any] = [sizes.build(**params).net for params in sizes.known]
    assert nets[:3] == [adv.BaseNet(), adv.BigNet(), adv.WRN(16, 10, "gelu")]
    assert [(net.depth, net.dim) for net in nets[3:]] == [(2, 128), (4, 128), (6, 256)]
    rse = spaces.load("report_wrn_rse")
    recipes = [rse.build(**params) for params in rse.known]
    assert [recipe.defences for recipe in recipes] == [(), (), (adv.RSE(0.2, 0.1),)]
    assert recipes[1].net == recipes[2].net == adv.WRN(16, 10, "gelu")
    for space in (sizes, rse):
        small = space.for_scale("laptop")
        assert all(cost(space, params) < 20e6 for params in small.known)
        assert max(cost(space, params) for params in space.known) == 2_412_173_568
    pipelines = spaces.load("report_augmentation")
    assert [pipelines.build(**params).augment for params in pipelines.known] == [
        adv.Augment(),
        adv.Augment(flip=0.5),
        adv.Augment(flip=0.5, crop=4, jitter=0.2),
    ]
    for space in (sizes, rse, pipelines):
        for params in space.known:
            assert space.build(**params).curriculum == adv.Curriculum()


@pytest.mark.parametrize("size", spaces.SCALES)
def test_table_2_is_trained_as_the_report_says(size):
    """10 epochs, PGD of eps 0.03 and step 0.008, both kinds of image with one weight."""
    space = spaces.load("report_defences").for_scale(size)
    scale = spaces.scale(size, **space.scale)
    recipes = [scale.apply(space.build(**params)) for params in space.known]
    assert [recipe.defences for recipe in recipes] == [(), (adv.PNI(),), (adv.RSE(0.2, 0.1),)]
    for recipe in recipes:
        assert recipe.epochs == 10 and recipe.net == adv.BigNet()
        assert recipe.objective == adv.Paired(0.5)
        assert isinstance(recipe.curriculum, adv.Curriculum)
        for epoch in range(10):
            attack = recipe.curriculum(epoch / 10).attack
            assert isinstance(attack, adv.PGD)
            assert (attack.ball, attack.steps) == (adv.Linf(0.03), 7)
            assert attack.pace * 0.03 == pytest.approx(0.008)


# --- the questions ---


def test_each_random_defence_is_random_and_none_is_not():
    space = spaces.load("defences")
    defences = space.knobs["defence"]
    assert isinstance(defences, Choice)
    assert [params["defence"] for params in space.known] == [*defences.options]
    nets = [adv.build(space.build(**params), 10, seed=0) for params in space.known]
    assert [adv.is_random(net) for net in nets] == [False, True, True, True, True]


def test_augmentation_begins_with_table_1_and_idbh_stands_alone():
    space = spaces.load("augmentation")
    assert [space.build(**params).augment for params in space.known] == [
        *(adv.Augment(), adv.Augment(flip=0.5), adv.Augment(flip=0.5, crop=4, jitter=0.2)),
        adv.Augment(idbh="weak"),
    ]
    for params in random_configurations(space):
        assert ("flip" in params) == ("erasing" in params) == (params["idbh"] == "off")
        recipe = space.build(**params)
        assert (recipe.smoothing, recipe.augment.cutmix) == (params["smoothing"], params["cutmix"])


def test_published_settings_come_first():
    pni = spaces.load("pni")
    recipes = [pni.build(**params) for params in pni.known]
    assert [recipe.defences for recipe in recipes] == [(adv.PNI(0.25, "layer", "all"),), ()]
    assert {recipe.objective for recipe in recipes} == {adv.Paired(0.5)}
    objectives = spaces.load("objective")
    assert [objectives.build(**params).objective for params in objectives.known] == [
        *(adv.Mixed(), adv.Madry(), adv.TRADES(6.0), adv.MART(5.0)),
        *(adv.AWP(adv.Madry(), 0.01), adv.AWP(adv.TRADES(6.0), 0.005)),
    ]
    curriculum = objectives.build(**objectives.known[0]).curriculum
    assert isinstance(curriculum, adv.Curriculum)
    lesson = curriculum(0.9)
    assert (lesson.attack.ball, lesson.attack.steps) == (adv.Linf(8 / 255), 10)
    assert lesson.fraction == 0.5


def test_the_curriculum_begins_with_the_report_and_published_settings():
    space = spaces.load("curriculum")
    found = [space.build(**params).curriculum for params in space.known]
    assert found == [
        adv.Curriculum(adv.Ramp(0.01, 0.1), adv.Ramp(10, 40), 0.25, 0.5),
        adv.Curriculum(8 / 255, 10, 0.25, 1.0),
        adv.CAT(0.032, most=7, patience=10),
        adv.Curriculum(8 / 255, 1, None, 1.0, kind="n-fgsm"),
    ]
    assert [lesson.attack for lesson in found[0].lessons(60)] == [
        lesson.attack for lesson in adv.Curriculum().lessons(60)
    ]
    for params in random_configurations(space):
        eps = [lesson.attack.ball.eps for lesson in space.build(**params).curriculum.lessons(10)]
        assert max(eps) <= params["eps"] + 1e-9
        if params.get("shape") == "constant" or params["attack"] == "cat":
            assert len(set(eps)) == 1
        elif params["shape"] == "warm-up":
            assert eps[0] == 0 and eps[-1] == pytest.approx(params["eps"])
        else:
            assert eps[0] == pytest.approx(params["eps_start"])


def test_cheap_recipes_begin_with_their_published_settings():
    space = spaces.load("cheap_recipes")
    found = {str(params["recipe"]): space.build(**params) for params in space.known}
    pgd = found.pop("pgd")
    assert pgd.curriculum == adv.Curriculum(8 / 255, 10, 0.25, 1.0)
    assert (pgd.objective, pgd.ema, pgd.smoothing) == (adv.Madry(), 0.9995, 0.4)
    assert {name: recipe.objective for name, recipe in found.items()} == {
        "n-fgsm": adv.Madry(),
        "fgsm-pgi": adv.PGI(10.0, momentum=0.3),
        "liet": adv.LIET(adv.Ramp(0.0, 100.0)),
        "nuat": adv.NuAT(adv.Ramp(0.0, 4.0)),
        "gat": adv.GAT(10.0),
        "grad-align": adv.GradAlign(0.2),
    }
    assert found["liet"].smoothing == 0.6
    for recipe in found.values():
        assert isinstance(recipe.curriculum, adv.Curriculum)
        assert recipe.curriculum.kind in ("fgsm", "n-fgsm")
        assert recipe.objective.passes(recipe.curriculum(0)) <= 4
    for params in random_configurations(space):
        lessons = space.build(**params).curriculum.lessons(20)
        assert lessons[-1].attack.ball == adv.Linf(8 / 255)
        assert (lessons[0].attack.ball.eps == 0) == (params["warm_up"] > 0)


def test_the_optimizer_begins_with_the_report_and_the_common_setting():
    space = spaces.load("optimizer")
    first, usual = (space.build(**params) for params in space.known)
    assert first == adv.Recipe(net=adv.BigNet())
    assert (usual.optimizer.lr, usual.optimizer.weight_decay) == (0.1, 5e-4)
    assert isinstance(usual.optimizer, adv.SGD)
    assert callable(usual.optimizer.decay)
    assert [usual.optimizer.decay(t) for t in (0, 0.49, 0.5, 0.8)] == [1, 1, 0.1, 0.01]
    for params in random_configurations(space):
        recipe = space.build(**params)
        assert recipe.ema == params["ema"] and recipe.clip == (1.0 if params["clip"] else None)


def test_everything_is_the_sum_of_its_parts():
    space = spaces.load("everything")
    parts = [*map(spaces.load, ("architecture", "optimizer", "objective"))]
    parts += [*map(spaces.load, ("curriculum", "augmentation", "defences"))]
    assert set(space.knobs) == {name for part in parts for name in part.knobs}
    report, published, tricks, rse = (space.build(**params) for params in space.known)
    assert report == adv.Recipe(
        net=adv.BigNet(),
        augment=adv.Augment(flip=0.5),
        curriculum=adv.Curriculum(adv.Ramp(0.01, 0.1), adv.Ramp(10, 40), 0.25, 0.5),
    )
    assert (published.net, published.objective) == (adv.ResNet18(), adv.Madry())
    assert published.curriculum == adv.Curriculum(8 / 255, 10, 0.25, 1.0)
    assert (tricks.objective, tricks.ema) == (adv.AWP(adv.TRADES(6.0), 0.005), 0.995)
    assert (rse.net, rse.defences) == (adv.WRN(16, 10, "gelu"), (adv.RSE(0.2, 0.1),))
    for params in random_configurations(space):
        shared = params["objective"] == "mixed" and params["attack"] != "cat"
        assert ("fraction" in params) == shared
