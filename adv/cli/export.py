"""`python -m adv export`: write a net as a folder of the course template, or as a graph."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from adv.cli.target_args import count
from adv.net_flags import TRUST_HELP


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path), required=False)
@count(
    "--votes",
    default=1,
    show_default=True,
    help="With a folder: noise samples averaged in each call of a random net.",
)
@click.option("--trust-code", is_flag=True, help=TRUST_HELP)
@click.option(
    "--full-scale",
    is_flag=True,
    help="Write nothing: print the command that trains this net's recipe at full scale.",
)
def export(
    checkpoint: Path, out: Path | None, votes: int, trust_code: bool, full_scale: bool
) -> None:
    """Write a net for use without this program.

    OUT.pt2 is a program of torch.export, OUT.onnx a graph for onnxruntime (pip install
    robustune[onnx]): both take images in [0, 1] and give logits, and are compared with the net on
    64 images and under an attack through the graph before they are kept.

    Any other OUT is a folder that the course's test script loads: model.py, its weights, a README.
    It needs only torch; its net returns log-probabilities, also without a call of eval().

    \b
    python -m adv export runs/NAME/front/0003.safetensors my_project
    python -m adv export runs/NAME/front/0003.safetensors net.onnx
    python -m adv export runs/NAME/front/0003.safetensors --full-scale
    """
    from adv.cli.export_run import export_folder, print_full_scale, write_graph

    if full_scale:
        if out is not None:
            raise ValueError(f"--full-scale writes nothing: leave out {out}")
        print_full_scale(checkpoint)
    elif out is None:
        raise ValueError("name a folder, NAME.pt2 or NAME.onnx to write, or --full-scale")
    elif out.suffix in (".pt2", ".onnx"):
        if votes > 1:
            raise ValueError("--votes is for a folder: a graph holds no random net")
        write_graph(checkpoint, out, trust_code=trust_code)
    else:
        export_folder(checkpoint, out, votes=votes, trust_code=trust_code)
