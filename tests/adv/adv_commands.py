"""Command lines of `adv` that several tests call, and what a mistake looks like."""

from pathlib import Path

SMOKE = ("--space", "smoke", "--set", "sigma=0.1")


def assert_mistake(called: tuple[int, str, str], hint: str) -> None:
    """Assert that a command has ended with status 2 and one line on stderr that holds a hint."""
    code, out, err = called
    assert code == 2, (out, err)
    assert hint in err, err
    assert err.count("\n") == 1 and err.startswith("adv: ")


def attack(user_module: Path, name: str, *more: object) -> tuple[object, ...]:
    """Return a command that attacks a net of a user's module on a few digits."""
    module = ("--module", f"{user_module}:{name}", "--data", "digits")
    return ("attack", *module, "--images", 40, "--steps", 1, *more)
