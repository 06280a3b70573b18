"""Use a space's recipes in the driver, which nothing that the code of a space raises may end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from adv.one_line import join_lines
from adv.shape import Shape
from search.errors import StorageError, describe_error
from search.interrupt import Interrupted, raises_on_interrupt
from spaces import Params

if TYPE_CHECKING:
    from adv import Recipe


class RecipeError(ValueError):
    """A configuration whose net cannot be built; the message is one line."""


@contextmanager
def catch_recipe_errors(params: Params) -> Iterator[None]:
    """Turn whatever a block raises that builds or measures a net into one exception.

    Args:
      params: the configuration of the net.

    Raises:
      RecipeError: the block has raised anything, `SystemExit` too.
      Interrupted, StorageError: the block has raised it; it says nothing about the recipe.
    """
    try:
        yield
    except (Interrupted, StorageError):
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and raises_on_interrupt():
            raise
        values = join_lines(", ".join(f"{name}={value}" for name, value in params.items()), 200)
        raise RecipeError(
            f"the net of {values} cannot be built: {describe_error(error, 200)}"
        ) from None


def count_parameters(
    build: Callable[[Params], Recipe], points: Iterable[Params], classes: int, shape: Shape
) -> list[int]:
    """Return the parameter counts of the nets of some configurations.

    Args:
      build: makes the recipe of a configuration.
      points: the configurations; those whose net cannot be built are left out.
      classes: of the data.
      shape: of its images.
    """
    from adv import size_of  # takes seconds to import

    counts = []
    for point in points:
        with suppress(RecipeError), catch_recipe_errors(point):
            counts.append(size_of(build(point).net, classes, shape).parameters)
    return counts
