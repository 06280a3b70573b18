"""`search(...)` from Python: its arguments, and what is refused before anything begins."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import adv
import search
import spaces
from adv.user_code import PYTHON, UserCodeError, load_object, register_object, registered_objects
from search import Float, Space, from_python
from search.interrupt import Interrupted
from search.record.view import View
from search.reporting import terminal


def build(lr: float) -> adv.Recipe:
    """Return BaseNet with a learning rate."""
    return adv.Recipe(net=adv.BaseNet(), optimizer=adv.AdamW(lr))


SPACE = Space("?", {"lr": Float(1e-3, 1e-2)}, build)


def test_the_face_has_what_a_search_needs():
    assert search.Space is spaces.Space and search.Choice is spaces.Choice
    assert {"search", "Space", "Float", "Int", "Choice"} <= set(dir(search))
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        _ = search.serach


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ({"epoch": 3}, TypeError, "no option 'epoch': did you mean 'epochs'?"),
        ({"on": "slurm"}, ValueError, "on='slurm'; there are: serial, ray"),
        ({"objectives": ("latency", "latency")}, ValueError, "both latency"),
        ({"settings": ["lrr=1"]}, ValueError, "did you mean 'lr'?"),
        ({"battery": "l2"}, ValueError, "no such battery"),
        ({"data": "digit"}, ValueError, "digit"),
        ({"constrain": ["speed<3"]}, ValueError, "here are: params"),
        ({"battery": lambda: adv.Battery(())}, ValueError, "a battery needs attacks"),
    ],
)
def test_a_mistake_leaves_nothing(arguments, kind, said, tmp_path):
    with pytest.raises(kind, match=re.escape(said)):
        search.search(SPACE, out=tmp_path, quiet=True, **{"data": "digits", **arguments})
    assert list(tmp_path.iterdir()) == []


def test_an_object_has_one_reference_and_a_file_of_a_run_cannot_claim_it():
    reference = register_object("space", SPACE)
    assert register_object("space", SPACE) == reference and load_object(reference) is SPACE
    assert spaces.load_any(reference) is SPACE
    assert registered_objects(("smoke", reference)) == {reference: SPACE}
    with pytest.raises(UserCodeError, match="was given from Python"):
        load_object(f"{PYTHON}space_99")


def test_a_file_is_named_by_the_call(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("space = 3")
    with pytest.raises(ValueError, match="it has no `space = Space"):
        search.search(Path(file), data="digits", out=tmp_path / "runs", quiet=True)
    assert not (tmp_path / "runs").exists()


def test_ctrl_c_ends_a_search_in_order(monkeypatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("search.from_python.serial.search", stop)
    nothing: Any = None
    with from_python._in_process(nothing, nothing) as run, pytest.raises(Interrupted) as early:
        run(nothing, nothing)
    assert early.value.code == 130


@pytest.mark.parametrize(("widgets", "live"), [(None, False), (object(), True)])
def test_a_notebook_has_the_live_table_if_it_can_show_one(widgets, live, monkeypatch):
    monkeypatch.setattr(terminal, "find_spec", lambda name: widgets)
    console = Console(file=io.StringIO(), force_jupyter=True)
    assert terminal.LiveProgress(console, 3, View())._is_live is live
    assert not terminal.LiveProgress(Console(file=io.StringIO()), 3, View())._is_live


def test_torch_datasets_are_data():
    images = torch.randint(0, 256, (12, 3, 8, 8), dtype=torch.uint8)
    pairs = [(images[i], i % 2) for i in range(12)]
    data = adv.from_datasets((pairs, pairs[:4]), "mine")
    assert data.name == "mine" and data.shape == (3, 8, 8) and len(data.test) == 4
    assert data.classes == ("0", "1") and set(data.test.images.sum((1, 2, 3)).tolist()) == {
        int(image.sum()) for image in images[:4]
    }
    with pytest.raises(ValueError, match="data has 4 data sets: expected 1, 2 or 3"):
        search.search(SPACE, data=[pairs] * 4)
