"""How W&B is to be used, told without loading it: what was asked for, and is there a key."""

from __future__ import annotations

import configparser
import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit

MODES = {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline",
         "disabled": "off"}  # fmt: skip
_HOSTS = ("api.wandb.ai", "api.forge.coreweave.com")


def resolve_mode(flag: str) -> tuple[str, str]:
    """The mode for a flag, and the reason in one sentence.

    Args:
      flag: "online", "offline" and "off" are taken as they are; "auto" follows WANDB_MODE, and
        without that is online where a key is configured, else offline.

    Returns:
      "online", "offline" or "off", and why.

    Raises:
      ValueError: another flag.
    """
    if flag in {"online", "offline", "off"}:
        return flag, f"W&B is {flag}, as asked for."
    if flag != "auto":
        raise ValueError(f"W&B is auto, online, offline or off, not {flag!r}")
    asked = os.environ.get("WANDB_MODE", "").strip().lower()
    if asked in MODES:
        return MODES[asked], f"W&B is {MODES[asked]}, because WANDB_MODE is {asked}."
    if source := _key():
        return "online", f"W&B is online, with the key from {source}."
    return "offline", "W&B is offline, because no key is configured (wandb login stores one)."


def _key() -> str:
    """Where a key is kept, or ""; the key itself is not looked at."""
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        if os.environ.get(name):
            return name
    own = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser() / "settings"
    settings = configparser.ConfigParser(interpolation=None)
    try:
        settings.read(own)
    except (configparser.Error, OSError, UnicodeDecodeError):
        settings.clear()
    section = dict(settings["default"]) if settings.has_section("default") else {}
    if section.get("api_key"):
        return str(own)
    server = os.environ.get("WANDB_BASE_URL") or section.get("base_url")
    hosts = (urlsplit(server).netloc,) if server else _HOSTS
    return _netrc(hosts)


def _netrc(hosts: tuple[str, ...]) -> str:
    named = os.environ.get("NETRC")
    for path in map(Path, [named] if named else ["~/.netrc", "~/_netrc"]):
        try:
            book = netrc.netrc(path.expanduser())
        except (OSError, netrc.NetrcParseError, RuntimeError, UnicodeDecodeError):
            continue
        if any((entry := book.hosts.get(host)) and entry[2] for host in hosts):
            return str(path)
    return ""
