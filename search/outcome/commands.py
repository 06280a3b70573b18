"""The next commands for a net of the front, ready to be pasted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from adv.data.names import kind_of
from adv.shell import join_command
from search.outcome.front_member import FrontMember
from search.record.study_header import StudyHeader
from spaces import is_file


@dataclass(frozen=True)
class NetCommands:
    """Three commands on a net of the front.

    Args:
      evaluate: on the test split.
      train: its configuration, at full scale.
      export: as a folder that needs only torch.
    """

    evaluate: str
    train: str
    export: str


def make_commands(member: FrontMember, header: StudyHeader, folder: Path) -> NetCommands:
    """Return the next commands for a net of the front.

    Args:
      member: the net.
      header: of the search.
      folder: of the run.
    """
    return name_commands(folder / member.file, f"{folder.name}-{member.name}", header)


def name_commands(file: str | Path, name: str, header: StudyHeader) -> NetCommands:
    """Return the next commands for a net.

    Args:
      file: of the net.
      name: with which the names of what is written begin.
      header: of the search.
    """
    trust = ["--trust-code"] if header.names_code else []
    data = ["--data", header.data] if kind_of(header.data) == "function" else []
    space = ["--space", header.space] if is_file(header.space) else []
    adv = ("python", "-m", "adv")
    return NetCommands(
        join_command(*adv, "evaluate", file, "--split", "test", *data, *trust),
        join_command(
            *(*adv, "train", "--like", file, "--scale", "full"),
            *("--out", f"{name}-full.safetensors", *space, *data, *trust),
        ),
        join_command(*adv, "export", file, name, *trust),
    )
