"""`python -m adv VERB`: train, attack and evaluate one net at a time, without a search."""

from __future__ import annotations

import rich_click as click

from adv.cli.attack import attack
from adv.cli.audit import audit
from adv.cli.bench import bench
from adv.cli.certify import certify
from adv.cli.compare import compare
from adv.cli.curve import curve
from adv.cli.evaluate import evaluate
from adv.cli.export import export
from adv.cli.models import models
from adv.cli.show import show
from adv.cli.synthesis.command import synthesize
from adv.cli.train import train
from adv.shell import adapt_commands, join_command
from adv.suggestions import describe_mistake
from adv.terminal.console import print_error
from adv.terminal.streams import DISK_ERRORS, describe_os_error, run_program
from adv.version import find_version

click.rich_click.TEXT_MARKUP = "rich"
click.rich_click.TEXT_PARAGRAPH_LINEBREAKS = "\n\n"
click.rich_click.PADDING_HELPTEXT_FIRST_LINE = (0, 0, 1, 0)


@click.group(no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(find_version(), message="%(version)s")
def adv() -> None:
    """Train a robust net, attack it, evaluate it and export it.

    --module FILE.py:NAME in place of the checkpoint evaluates any torch.nn.Module. Each verb has a
    --help with examples.

    \b
    python -m adv train --space rse_sigmas --out rse.safetensors
    python -m adv evaluate rse.safetensors --split test
    python -m adv attack rse.safetensors --attack apgd --images 256
    python -m adv export rse.safetensors my_project
    """


for verb in (
    *(train, evaluate, attack, curve, audit, compare, show, certify),
    *(export, models, bench, synthesize),
):
    adv.add_command(verb)


def _adapt_help(command: click.Command) -> None:
    """Let the help of a command, and of those below it, spell commands as they were typed."""
    command.help = adapt_commands(command.help or "")
    for below in getattr(command, "commands", {}).values():
        _adapt_help(below)


def run() -> None:
    """Run the command line; what fails is one line: status 2 for mistakes, 1 for failing disks."""
    run_program("adv", _main)


def _main() -> int | None:
    _adapt_help(adv)
    try:
        return adv.main(prog_name=join_command("python", "-m", "adv"), standalone_mode=False)
    except click.ClickException as error:
        message, code = describe_mistake(error), error.exit_code
    except ValueError as error:
        message, code = str(error), 2
    except OSError as error:
        message, code = describe_os_error(error), 1 if error.errno in DISK_ERRORS else 2
    except (click.Abort, KeyboardInterrupt):
        message, code = "interrupted", 130
    print_error("adv", message)
    return code


if __name__ == "__main__":
    run()
