"""Reach an MLflow server, a database of MLflow, or one in a folder."""

from __future__ import annotations

import importlib
import logging
import os
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from adv.keys import redact


def open_mlflow(place: str) -> tuple[Any, Any, str | None]:
    """Return MLflow's entities, a client, and where new artifacts go, None for the default.

    Args:
      place: the URI of a tracking server or a database, or a folder, in which `mlflow.db` is made.

    Raises:
      ValueError: MLflow is not installed, or the place cannot be used; the message is one line.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # else minutes without a server
    artifacts, uri = None, place
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sqlalchemy, to MLflow's authors
        try:
            mlflow = importlib.import_module("mlflow")
        except ImportError:
            raise ValueError(
                "--mlflow needs the package mlflow: pip install mlflow-skinny"
            ) from None
        with suppress(ImportError):  # or a thread of the copy would, and matplotlib fails if it
            importlib.import_module("IPython")  # meets a module that is not imported to its end
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            if "://" not in place:
                folder = Path(place).absolute()
                folder.mkdir(parents=True, exist_ok=True)
                artifacts, uri = (folder / "artifacts").as_uri(), f"sqlite:///{folder}/mlflow.db"
            return mlflow.entities, mlflow.MlflowClient(tracking_uri=uri), artifacts
        except Exception as error:  # of its own, of sqlalchemy, of a driver that is missing
            reason = " ".join(str(error).split())[:200]
            raise ValueError(redact(f"--mlflow {place}: {reason}")) from None
