"""The nets of a front as W&B artifacts, outputs of the runs that trained them, with pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.record.run_folder import EXAMPLES
from search.record.trial import Trial
from search.tracking.run_records import ON_FRONT, RunRecord, run_key
from search.tracking.standing import Standing
from search.tracking.wandb_panels import PICTURES
from search.tracking.wandb_pictures import read_pictures

LEFT = "left-front"  # the alias of a net that was on the front once
UPLOAD_TIMEOUT = 60  # seconds


@dataclass(frozen=True)
class NetFile:
    """The net of a run, to be logged.

    Args:
      path: of the checkpoint.
      sha256: of that file; "" if it is not known.
      aliases: `front` and its roles, or `LEFT`.
    """

    path: Path
    sha256: str
    aliases: tuple[str, ...]


def find_nets(study: str, standing: Standing, folder: Path) -> dict[str, NetFile]:
    """Return the nets of the front whose file is there, by the key of the run that trained them.

    Args:
      study: id of the search.
      standing: of its nets.
      folder: of the run.
    """
    found: dict[str, NetFile] = {}
    for number, net in standing.front.items():
        aliases = (ON_FRONT, *standing.roles.get(number, ()))
        if file := _find_file(net.training, folder, aliases):
            found[run_key(study, net.training, final=net.is_final)] = file
    return found


def find_left_net(record: RunRecord, folder: Path) -> NetFile | None:
    """Return the net of a run that is on the front no more."""
    return _find_file(record.trial, folder, (LEFT,))


def log_net(wandb: Any, run: Any, record: RunRecord, net: NetFile, *, online: bool) -> None:
    """Log a net as an output of the run that trained it, and images that it was attacked on.

    W&B adds aliases and takes none back, so online those that hold no more are removed. Offline
    nothing can be removed: `on_front` and `roles` in the summary of the run say what holds.

    Args:
      wandb: the module.
      run: that trained the net, open.
      record: of that run.
      net: its file.
      online: whether W&B is asked at once.
    """
    known = {**record.config, **record.summary, "sha256": net.sha256}
    artifact = wandb.Artifact(f"{record.key}-net", type="model", metadata=known)
    artifact.add_file(str(net.path), name=f"{record.key}.safetensors", policy="immutable")
    logged = run.log_artifact(artifact, aliases=list(net.aliases))
    if pictures := read_pictures(net.path.parent / EXAMPLES):
        run.log({PICTURES: [wandb.Image(one.pixels, caption=one.caption) for one in pictures]})
    if online:
        logged.wait(timeout=UPLOAD_TIMEOUT)
        if set(logged.aliases) - {*net.aliases, "latest"}:
            logged.aliases = [*net.aliases, "latest"]
            logged.save()


def _find_file(trial: Trial, folder: Path, aliases: tuple[str, ...]) -> NetFile | None:
    """Return the net of a training, None if it has none or its file is not in the run folder."""
    details = trial.result.details if trial.result else None
    if details is None or details.weights is None or trial.lost_net:
        return None
    path = folder / details.weights
    inside = path.resolve().is_relative_to(folder.resolve())
    if not (inside and path.is_file()):
        return None
    return NetFile(path, details.weights_sha256 or "", aliases)
