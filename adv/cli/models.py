"""`python -m adv models`: the nets and their sizes."""

from __future__ import annotations

import rich_click as click


@click.command()
def models() -> None:
    """List the nets with their parameters and what an image costs.

    python -m adv models
    """
    from adv.cli.display import show_models

    show_models()
