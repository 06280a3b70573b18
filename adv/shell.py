"""Print commands so that they can be pasted into a shell."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

# The console scripts, and the words that call the same program in a copy of the project.
SCRIPTS = {"robustune": ("python", "launch.py"), "adv": ("python", "-m", "adv")}


def quote(word: str | Path) -> str:
    r"""Return a word as a shell reads it, unchanged where it needs no quotes.

    Args:
      word: a path that begins with a dash gets `./` before it, so that it is not taken for a flag.
        A word that a terminal or a line of a message would change (line breaks, double spaces,
        control characters, bytes that are not UTF-8) is written as `$'a\x0ab'`, for bash and zsh.
    """
    text = str(word)
    if isinstance(word, Path) and text.startswith("-"):
        text = f"./{text}"
    if text.isprintable() and " ".join(text.split()) == text:
        return shlex.quote(text)
    return f"$'{''.join(map(_escape, text))}'"


def join_command(*words: str | Path) -> str:
    """Return the words of a command, each quoted where it needs it, with a space between two.

    `python launch.py` becomes `robustune`, and `python -m adv` becomes `adv`, where a console
    script was called: there may be no launch.py, and `python` may be another one.
    """
    if _find_script():
        for script, spelled in SCRIPTS.items():
            if words[: len(spelled)] == spelled:
                words = (script, *words[len(spelled) :])
    return " ".join(map(quote, words))


def adapt_commands(text: str) -> str:
    """Return a text with its commands spelled as `join_command` would."""
    for spelled in SCRIPTS.values():
        text = text.replace(" ".join(spelled), join_command(*spelled))
    return text


def name_program() -> str:
    """Return the name of the search's command line as it was typed, for messages of mistakes."""
    return _find_script() or "launch.py"


def _find_script() -> str | None:
    """Return the console script that was called; None if none was."""
    name = Path(sys.argv[0]).name if sys.argv else ""
    return name if name in SCRIPTS else None


def _escape(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable() and character != " ":
        return character
    try:
        content = os.fsencode(character)
    except UnicodeEncodeError:  # half of a surrogate pair: no name of a file has it
        content = character.encode("utf-8", "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in content)
