"""`python -m adv export`: write a net as a folder of the course template."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from adv.cli.target_args import count


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("out_dir", type=click.Path(path_type=Path))
@count(
    "--votes",
    default=1,
    show_default=True,
    help="Noise samples averaged in each call of a random net.",
)
def export(checkpoint: Path, out_dir: Path, votes: int) -> None:
    """Write a folder that the course's test script loads: model.py, its weights, a README.

    The folder needs only torch; its net returns log-probabilities, also without a call of eval().

    \b
    python -m adv export runs/NAME/front/0003.safetensors my_project
    """
    from adv.cli.target import load_checkpoint
    from adv.exporting.course_template import export as write_folder
    from adv.terminal.console import print_line

    write_folder(load_checkpoint(checkpoint), out_dir, votes=votes)
    print_line(f"{out_dir}\ntest it: python test_project.py {out_dir}")
