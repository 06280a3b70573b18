"""`python -m adv models`: list the nets and their sizes."""

from __future__ import annotations

import rich_click as click


@click.command()
def models() -> None:
    """List the nets with their parameters and their cost per image.

    \b
    python -m adv models
    """
    from adv.cli.display import print_models

    print_models()
