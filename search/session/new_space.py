"""Write a space to begin with: `launch.py --new-space NAME`."""

from __future__ import annotations

import keyword
from pathlib import Path

import spaces
from adv.files import write_atomic
from adv.shell import join_command


def write_new_space(name: str) -> str:
    """Write NAME.py into the present folder, and return what to do next.

    Raises:
      ValueError: the name is no name of a module, or the file exists.
    """
    stem = name.removesuffix(".py")
    if not stem.isidentifier() or keyword.iskeyword(stem):
        raise ValueError(f"--new-space {name}: letters, digits and _, not beginning with a digit")
    file = Path(f"{stem}.py")
    if file.exists():
        raise ValueError(f"--new-space {name}: {file} exists; choose another name")
    text = (Path(spaces.__file__).parent / "_template.py").read_text(encoding="utf-8")
    write_atomic(file, text.replace("FILE", str(file)))
    command = join_command("python", "launch.py", "--space-file", file, "--serial")
    return f"{file} is a space that runs as it is; change it as you like:\n  {command}"
