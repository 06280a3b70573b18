"""A check of dead units: do the activations of a layer still depend on the image?"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from adv.auditing.context import AuditContext
from adv.auditing.finding import Finding, exact_interval
from adv.runtime.random_streams import use_seed

MIN_UNITS = 16  # a layer of few, as of a squeeze-excitation, may be dead by chance without harm
LIMIT = 0.98
_ALIKE = 1e-6  # of the layer's largest output: smaller differences are none
# Gates (sigmoids) are left out: one that has the same value for all images lets the image through.
_RECTIFIERS = {"relu", "relu6", "rrelu", "leaky_relu", "elu", "selu", "celu", "threshold"}
_OTHERS = {"gelu", "silu", "mish", "softplus", "hardtanh", "hardswish", "tanh"}
_CLAMPS = {"clamp", "clamp_min", "clip", "maximum"}


def check_dead_units(context: AuditContext, x: Tensor) -> Finding:
    """Measure the largest share, over activations, of units with the same output everywhere.

    A unit is a channel of a convolution or an element of a vector. It is dead if its output is the
    same for all images and positions, as that of a ReLU whose input is never positive. Activations
    are seen where they are called, as a module or as a function.
    """
    with use_seed(context.model, context.battery.seed), _Activations() as activations:
        context.model(x)
    shares = activations.dead
    found = max((share for share, _ in shares), default=0.0)
    worst = next((name for share, name in shares if share == found), "")
    seen = (
        f"In the worst of {len(shares)} activations, {worst}, {100 * found:.3g} % of the units "
        "have the same output for every image."
    )
    return Finding(
        "dead units",
        found,
        LIMIT,
        exact_interval(found),
        "%",
        "layers of sound published nets have had up to 86 %; with one unit of fifty left hardly a "
        "path remains",
        seen if shares else "No activation function was seen: this check says nothing.",
        "Nearly all units of a layer are dead: they pass neither the image nor a gradient, so the "
        "attack is blocked, and the net hardly sees its input.",
    )


class _Activations(TorchFunctionMode):
    """A context that measures the share of dead units at each call of an activation function.

    Attributes:
      dead: a share in [0, 1] and the name of the function, for each call.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dead: list[tuple[float, str]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "").rstrip("_")
        if name in _RECTIFIERS | _OTHERS | _CLAMPS and isinstance(out, Tensor) and out.dim() > 1:
            units = out.detach().movedim(-1 if out.dim() == 3 else 1, 0).flatten(1).float()
            if len(units) >= MIN_UNITS:
                spread = units.amax(1) - units.amin(1)
                alike = spread <= _ALIKE * units.abs().max()
                self.dead.append((float(alike.double().mean()), name))
        return out
