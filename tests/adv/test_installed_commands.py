"""Commands that are printed name the program that was called."""

import sys

from adv.shell import join_command


def test_the_installed_script_names_itself(monkeypatch):
    words = ("python", "launch.py", "--resume", "runs/my run")
    assert join_command(*words) == "python launch.py --resume 'runs/my run'"
    monkeypatch.setattr(sys, "argv", ["/opt/bin/robustune"])
    assert join_command(*words) == "robustune --resume 'runs/my run'"
    assert join_command("python", "-m", "adv", "models") == "python -m adv models"
