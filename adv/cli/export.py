"""`python -m adv export`: a net as a folder of the course template."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from adv.cli.source import COUNT, RecipeOf


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("out_dir", type=click.Path(path_type=Path))
@click.option(
    "--votes", type=COUNT, default=1, show_default=True, help="Draws a call averages, random nets."
)
@click.pass_obj
def export(recipe_of: RecipeOf, checkpoint: Path, out_dir: Path, votes: int) -> None:
    """Write a folder that the course's test script loads: model.py, its weights, a README.

    python -m adv export runs/NAME/front/0003.safetensors my_project

    The folder needs torch and nothing else; its net gives log-probabilities, without eval().
    """
    from adv.cli.target import opened
    from adv.exporting.course_template import export as write

    write(opened(checkpoint, recipe_of), out_dir, votes=votes)
    click.echo(f"{out_dir}\ntest it: python test_project.py {out_dir}")
