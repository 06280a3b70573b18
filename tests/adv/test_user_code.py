"""Files of the user's: only those that were named are run, once, and errors name their line."""

import pytest

from adv import user_code
from adv.user_code import UserCodeError, load_object, name_file, run_file


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a file, in a process in which the user has named none."""
    monkeypatch.setattr(user_code, "_named", set())

    def write(text, name="mine.py"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_a_file_that_nobody_named_is_not_run(write, tmp_path):
    file = write(f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()")
    with pytest.raises(UserCodeError, match="not named in this command"):
        run_file(file)
    assert not (tmp_path / "ran").exists()
    name_file(file)
    run_file(file)
    assert (tmp_path / "ran").exists()


def test_a_file_is_run_once_until_it_changes(write):
    file = name_file(write("class Net: pass"))
    assert load_object(f"{file}:Net") is load_object(f"{file}:Net")
    before = load_object(f"{file}:Net")
    write("class Net: pass  # another")
    assert load_object(f"{file}:Net") is not before


def test_a_file_may_import_its_neighbours(write):
    write("value = 3", "neighbour_of_mine.py")
    assert load_object(f"{name_file(write('from neighbour_of_mine import value'))}:value") == 3
    assert load_object("math:pi") > 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = 1\ndef f(:\n", "line 2: SyntaxError: invalid syntax"),
        ("x = 1\n\ny = 1 / 0\n", "line 3: ZeroDivisionError: division by zero"),
        ("import json\njson.loads('{')\n", "line 2: JSONDecodeError"),
        ("raise SystemExit('two\\nlines')", "line 1: SystemExit: two"),
    ],
)
def test_a_file_that_fails_is_named_with_its_line(write, text, reason):
    file = name_file(write(text))
    with pytest.raises(UserCodeError) as error:
        run_file(file)
    assert str(error.value).startswith(f"cannot use {file}, {reason}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("mine", "write path.py:NAME or package.module:NAME"),
        ("mine.py:a b", "write path.py:NAME"),
        ("no_such_module:f", "cannot import no_such_module: ModuleNotFoundError"),
        ("math:sqroot", "math has no 'sqroot': did you mean 'sqrt'?"),
    ],
)
def test_a_reference_that_names_nothing(reference, reason):
    with pytest.raises(UserCodeError, match=reason.replace("?", r"\?")):
        load_object(reference)


def test_a_name_that_is_no_file(write, tmp_path):
    write("")
    with pytest.raises(UserCodeError, match=r"no file .*mime.py: did you mean 'mine.py'\?"):
        name_file(tmp_path / "mime.py")
    with pytest.raises(UserCodeError, match=r"ends in \.py"):
        name_file(tmp_path / "mine.txt")
