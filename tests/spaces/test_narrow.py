"""Spaces of one's own, and hyperparameters that are fixed or narrowed for one search."""

import re

import pytest

import adv
import spaces
from adv import user_code
from adv.user_code import name_file
from spaces import Choice, Float, Int, Prior, Space, Value


def build(**params: object) -> adv.Recipe:
    raise NotImplementedError("this space trains nothing")


SPACE = Space(
    question="?",
    knobs={
        "model": Choice(("small", "large", "vit")),
        "width": Int(1, 8, log=True, when={"model": ("small", "large")}),
        "depth": Int(2, 6, when={"model": "vit"}),
        "lr": Float(1e-4, 1e-1, log=True),
        "clip": Choice((False, True)),
    },
    build=build,
    known=(
        {"model": "small", "width": 1, "lr": 0.05, "clip": False},
        {"model": "vit", "depth": 3, "lr": 1e-3, "clip": True},
    ),
)


def test_nothing_asked_for_is_the_space_itself():
    assert spaces.narrow(SPACE, ()) is SPACE


def test_a_fixed_hyperparameter_has_one_value_everywhere():
    fixed = spaces.narrow(SPACE, ["lr=0.001", "clip=True"])
    assert fixed.knobs["lr"] == Choice((0.001,)) and fixed.knobs["clip"] == Choice((True,))
    assert [known["lr"] for known in fixed.known] == [0.001, 0.001]
    assert all(fixed.at([u] * 5)["clip"] is True for u in (0.0, 0.5, 0.99))
    assert fixed.fingerprint != SPACE.fingerprint


def test_what_cannot_exist_any_more_is_gone():
    vit = spaces.narrow(SPACE, ["model=vit"])
    assert list(vit.knobs) == ["model", "depth", "lr", "clip"]
    assert vit.known == (SPACE.known[1],)
    both = spaces.narrow(SPACE, ["model=large,vit"])
    assert both.knobs["width"].when == {"model": ("large",)}
    assert both.known == (SPACE.known[1],)


def test_a_narrower_range_moves_known_numbers_inside():
    narrow = spaces.narrow(SPACE, ["lr=1e-3:0.01", "width=2:4"])
    assert narrow.knobs["lr"] == Float(1e-3, 0.01, log=True)
    assert narrow.knobs["width"] == Int(2, 4, log=True, when={"model": ("small", "large")})
    assert narrow.known[0] == {"model": "small", "width": 2, "lr": 0.01, "clip": False}


def test_the_centre_of_a_prior_stays_in_the_range():
    prior = Prior(1e-2, 3.0)
    space = Space("?", {"lr": Float(1e-4, 1e-1, log=True, prior=prior)}, build)
    inside = spaces.narrow(space, ["lr=1e-3:5e-2"]).knobs["lr"]
    above = spaces.narrow(space, ["lr=2e-2:5e-2"]).knobs["lr"]
    assert isinstance(inside, Float) and inside.prior == prior
    assert isinstance(above, Float) and above.prior == Prior(2e-2, 3.0)


def test_a_fixed_value_of_a_grid_leaves_its_row():
    grid = Space("?", {"a": Choice((1, 2)), "b": Choice((3, 4))}, build, grid=True)
    assert spaces.narrow(grid, ["a=2"]).known == ({"a": 2, "b": 3}, {"a": 2, "b": 4})


def test_around_a_point_numbers_keep_a_share_of_their_range_and_choices_their_option():
    point: dict[str, Value] = {"model": "small", "width": 4, "lr": 1e-2, "clip": True}
    settings = spaces.settings_near(SPACE, point, but=["clip"])
    near = spaces.narrow(SPACE, settings, point)
    assert near.known[0] == point
    assert near.knobs["model"] == Choice(("small",)) and near.knobs["clip"] == SPACE.knobs["clip"]
    lr = near.knobs["lr"]
    assert isinstance(lr, Float)
    share = 10 ** (3 * 0.15)  # of three decades
    assert (lr.low, lr.high) == pytest.approx((1e-2 / share, 1e-2 * share))
    width = near.knobs["width"]
    assert isinstance(width, Int) and width.low < 4 < width.high < 8
    edge = spaces.settings_near(SPACE, {**point, "lr": 1e-1})
    assert spaces.narrow(SPACE, edge).knobs["lr"].holds(1e-1)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["lrr=1"], "no hyperparameter 'lrr': did you mean 'lr'? There are: model, width"),
        (["lr"], "--set 'lr': write KNOB=VALUE, KNOB=LOW:HIGH or KNOB=A,B"),
        (["lr=fast"], "--set 'lr=fast': 'fast' is not one of 0.0001 to 0.1 (log)"),
        (["lr=1"], "--set 'lr=1': 1 is outside 0.0001 to 0.1 (log)"),
        (["lr=0.01:0.001"], "the first end of a range is the lower one"),
        (["lr=0.001:0.002:0.003"], "a range is LOW:HIGH"),
        (["width=1.5"], "'1.5' is not one of 1 to 8 (log)"),
        (["model=smal"], "no option 'smal': did you mean 'small'? There are: small, large, vit"),
        (["lr=0.01", "lr=0.02"], "--set lr is given twice"),
        (["model=vit", "width=2"], "--set width: it exists only with {'model':"),
    ],
)
def test_settings_that_fit_nothing(settings, said):
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        spaces.narrow(SPACE, settings)
    assert "\n" not in str(error.value)


def test_a_space_of_any_file_that_was_named(tmp_path, monkeypatch):
    monkeypatch.setattr(user_code, "_named", set())
    file = tmp_path / "my_space.py"
    file.write_text(_template().replace("FILE", "my_space.py"))
    with pytest.raises(ValueError, match="not named in this command"):
        spaces.load_any(str(file))
    name_file(file)
    space = spaces.load_any(str(file))
    assert space.data == "digits" and space.known and spaces.title(str(file)) == "my_space"
    assert space.build(**space.at([0.5] * len(space.knobs))).net == adv.BigNet(width=2)
    file.write_text("from spaces import Space\nspace = Space(\n")
    with pytest.raises(ValueError, match=r"my_space.py, line 2: SyntaxError: '\(' was never"):
        spaces.load_any(str(file))
    file.write_text("space = 3")
    with pytest.raises(ValueError, match="it has no `space = Space"):
        spaces.load_any(str(file))


def _template() -> str:
    from importlib.resources import files

    return files("spaces").joinpath("_template.py").read_text(encoding="utf-8")
