"""Decide whether W&B is used online: by the flag, by the key, by what the server answers.

Nothing here imports W&B itself.
"""

from __future__ import annotations

import configparser
import netrc
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from adv.keys import redact
from search.errors import describe_error

MODES = {  # values of WANDB_MODE
    "online": "online",
    "run": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "off",
}
_HOSTS = ("api.wandb.ai", "api.forge.coreweave.com")


def resolve_mode(flag: str) -> tuple[str, str]:
    """Return the mode for a flag, and the reason in one sentence.

    Args:
      flag: "online", "offline" and "off" are used as they are; "auto" follows WANDB_MODE if it is
        set, else it is online if a key is configured, else offline.

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
    if source := _find_key():
        return "online", f"W&B is online, with the key from {source}."
    return "offline", "W&B is offline, because no key is configured (wandb login stores one)."


def find_login_problem(wandb: Any) -> str:
    """Return why the module `wandb` cannot log in, or "" if it can; takes about 15 s at most.

    The server is asked first, because W&B retries for long if none answers.
    """
    from ssl import SSLError
    from urllib.error import HTTPError
    from urllib.request import urlopen

    server = wandb.setup().settings.base_url
    try:
        urlopen(server, timeout=5).close()
    except HTTPError:
        pass  # the server has answered, which is enough
    except OSError as error:
        reason = getattr(error, "reason", error)
        if not isinstance(reason, SSLError):  # W&B has its own root certificates
            return redact(f"{server} cannot be reached ({reason})")
    try:
        return "" if wandb.login(prompt=False, verify=True) else "there is no API key"
    except Exception as error:
        return describe_error(error, limit=200)


def _find_key() -> str:
    """Return where a key is configured, or ""; the key itself is not kept."""
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
    return _find_in_netrc(hosts)


def _find_in_netrc(hosts: tuple[str, ...]) -> str:
    """Return the netrc file that has a password for one of the hosts, or ""."""
    named = os.environ.get("NETRC")
    for path in map(Path, [named] if named else ["~/.netrc", "~/_netrc"]):
        try:
            book = netrc.netrc(path.expanduser())
        except (OSError, netrc.NetrcParseError, RuntimeError, UnicodeDecodeError):
            continue
        if any((entry := book.hosts.get(host)) and entry[2] for host in hosts):
            return str(path)
    return ""
