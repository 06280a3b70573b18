"""How the mode (online, offline, off) is chosen, without importing W&B."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from search.tracking.wandb_login import resolve_mode

ROOT = Path(__file__).parents[3]
KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user with no W&B settings at all."""
    for name in [name for name in os.environ if name.startswith("WANDB_")] + ["NETRC"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("flag", ["online", "offline", "off"])
def test_a_flag_is_taken_as_it_is(home, monkeypatch, flag):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert resolve_mode(flag)[0] == flag


@pytest.mark.parametrize(
    ("asked", "mode"),
    [
        ("online", "online"),
        ("run", "online"),
        ("offline", "offline"),
        ("dryrun", "offline"),
        ("disabled", "off"),
        ("nonsense", "offline"),
    ],
)
def test_auto_follows_wandb_mode(home, monkeypatch, asked, mode):
    monkeypatch.setenv("WANDB_MODE", asked)
    assert resolve_mode("auto")[0] == mode


def test_auto_is_offline_without_a_key_and_online_with_one(home, monkeypatch):
    assert resolve_mode("auto") == (
        "offline",
        "W&B is offline, because no key is configured (wandb login stores one).",
    )
    book = home / ".netrc"
    book.write_text(f"machine elsewhere.org login user password {KEY}\n")
    book.chmod(0o600)
    assert resolve_mode("auto")[0] == "offline"
    book.write_text(f"machine api.wandb.ai login user password {KEY}\n")
    assert resolve_mode("auto") == ("online", "W&B is online, with the key from ~/.netrc.")
    book.write_text("machine machine machine")
    assert resolve_mode("auto")[0] == "offline"
    settings = home / ".config" / "wandb" / "settings"
    settings.parent.mkdir(parents=True)
    settings.write_text("[default]\nbase_url = https://wandb.example.org\n")
    book.write_text(f"machine wandb.example.org login user password {KEY}\n")
    assert resolve_mode("auto")[0] == "online"
    book.unlink()
    settings.write_text(f"[default]\napi_key = {KEY}\n")
    assert resolve_mode("auto")[0] == "online"
    settings.write_text("not a settings file")
    assert resolve_mode("auto")[0] == "offline"
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    mode, reason = resolve_mode("auto")
    assert mode == "online"
    assert KEY not in reason


def test_an_unknown_flag_is_refused():
    with pytest.raises(ValueError, match="auto, online, offline or off, not 'on'"):
        resolve_mode("on")


def test_the_mode_is_told_without_loading_wandb():
    code = (
        "import sys; from search.tracking.wandb_login import resolve_mode; resolve_mode('auto'); "
    )
    code += "sys.exit('wandb' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
