"""Text of unknown origin on one line, free of what a terminal executes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adv.one_line import to_one_line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tabby cat, café, 猫, 👩‍👧", "tabby cat, café, 猫, 👩‍👧"),
        ("caf\udce9", r"caf\xe9"),
        ("\ud800", r"\ud800"),
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\r\n\tb\x9b", r"a\r\n\tb\x9b"),
        ("a\u2028b\u202ec", r"a\u2028b\u202ec"),
        ("a\u00a0b", "a\u00a0b"),
    ],
)
def test_what_is_escaped(text, expected):
    assert to_one_line(text) == expected


@given(st.text(st.characters()))
def test_any_text_fits_one_line_of_utf_8(text):
    once = to_one_line(text)
    assert once.encode() and len(once.splitlines()) == 1 if once else text == ""
    assert to_one_line(once) == once
