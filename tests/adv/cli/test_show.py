"""`python -m adv show`: a page, or a folder, about one net."""

import base64
import csv
import io
import re

import numpy as np
import pytest
import torch
from adv_commands import assert_mistake
from PIL import Image

from adv import load
from adv.cli.show_page import Shown

pytestmark = pytest.mark.usefixtures("empty_folder")
FEW = ("--images", 12, "--battery", "quick", "--steps", 1)


def test_a_page_holds_images_curve_and_confusions_and_loads_nothing(adv, checkpoint, tmp_path):
    code, out, err = adv("show", checkpoint, *FEW, "--shown", 3, "--out", tmp_path / "net.html")
    assert (code, err, out.strip()) == (0, "", str(tmp_path / "net.html"))
    page = (tmp_path / "net.html").read_text()
    page = re.sub(r"<script>/\*\*.*?</script>", "", page, flags=re.DOTALL)
    for name in ("curve", "confusion", "confusion-attacked"):
        assert f'id="{name}"' in page
    pictures = [base64.b64decode(data) for data in re.findall(r"base64,([^']+)'", page)]
    assert len(pictures) == 9
    first = np.asarray(Image.open(io.BytesIO(pictures[0])))
    digits = load("digits", image_size="32").validation.images[0]
    assert (first == digits.permute(1, 2, 0).numpy()).all()
    assert "The first 12 validation images" in page and "12 images, 95 % Wilson" in page
    assert not re.search(r"(?:src|href)=['\"]https?:", page)


def test_a_folder_holds_pictures_and_tables(adv, checkpoint, tmp_path):
    code, _, err = adv("show", checkpoint, *FEW, "--shown", 50, "--out", tmp_path / "net")
    assert (code, err) == (0, "")
    files = {path.name for path in (tmp_path / "net").iterdir()}
    assert files == {
        *("index.html", "images", "accuracies.csv", "confusion.csv", "confusion-attacked.csv")
    }
    assert len(list((tmp_path / "net" / "images").glob("*.png"))) == 3 * 12
    rows = list(csv.reader((tmp_path / "net" / "confusion.csv").read_text().splitlines()))
    assert rows[0] == ["true", *map(str, range(10))]
    assert sum(int(cell) for row in rows[1:] for cell in row[1:]) == 12
    assert_mistake(adv("show", checkpoint, *FEW, "--out", tmp_path / "net"), "exists: name another")


def test_a_perturbation_is_shown_ten_times_around_grey():
    clean = torch.full((1, 1, 3), 0.5)
    moved = Shown.of(0, clean, clean + torch.tensor([0.0, 0.01, -0.2])).pictures["perturbation"]
    assert moved.flatten().tolist() == pytest.approx([0.5, 0.6, 0.0])


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["a.safetensors"], "--out"),
        (["a.safetensors", "--out", "x.html"], "no checkpoint at a.safetensors"),
        (["a.safetensors", "--out", "x", "--shown", "0"], "--shown"),
        (["a.safetensors", "--out", "x", "--battery", "quik"], "did you mean 'quick'"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(adv, tmp_path, arguments, hint):
    assert_mistake(adv("show", *arguments), hint)
    assert not list(tmp_path.iterdir())
