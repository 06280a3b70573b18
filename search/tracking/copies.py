"""The copies of a search that flags ask for: in MLflow, and for TensorBoard."""

from __future__ import annotations

from pathlib import Path

from search.tracking.background_copy import Copy


def open_copies(mlflow: str | None, tensorboard: Path | str | None) -> dict[str, Copy]:
    """Return the copies to write, by the name of the tracker; nothing is copied yet.

    Args:
      mlflow: a URI or a folder; None: no copy in MLflow.
      tensorboard: a folder; None: no copy for TensorBoard.

    Raises:
      ValueError: a package is missing, or a place cannot be used; the message is one line.
    """
    copies: dict[str, Copy] = {}
    if mlflow is not None:
        from search.tracking.mlflow_copy import MlflowCopy

        copies["MLflow"] = MlflowCopy(mlflow)
    if tensorboard is not None:
        from search.tracking.tensorboard_copy import TensorboardCopy

        copies["TensorBoard"] = TensorboardCopy(Path(tensorboard))
    return copies
