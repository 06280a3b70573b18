"""CUDA graphs: a step on tensors at fixed addresses is captured once, and replayed.

Python launches a kernel in about five microseconds, and most kernels of a small net take less: a
GPU that attacks BigNet waits for its program. A graph launches all kernels at once. What changes
from one replay to the next (images, labels, eps, step size) is copied to the tensors that the graph
reads, so that a curriculum needs no new capture.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from adv.attacks import Attack, Iterative, State
from adv.one_line import join_lines
from adv.runtime.frozen import frozen
from adv.runtime.fused_cpu import fused_conv_pool
from adv.runtime.random_streams import RngStream

MAX_STEPS = 16
"""Number of captured steps that one training keeps; later ones run uncaptured."""

_WARM_UP = 3
_CAPTURE_LOCK = threading.Lock()  # for threads that train side by side in one process


@dataclass(eq=False)
class CapturedStep:
    """A function of tensors at fixed addresses, run as a CUDA graph once it is captured.

    Args:
      inputs: the tensors that `load` fills.
      work: reads the inputs, and other tensors that stay where they are, such as weights. The next
        call overwrites what it returns.
      graph: the captured graph, None if there is none.
      result: what the graph writes to, as `work` returned it.
    """

    inputs: tuple[Tensor, ...]
    work: Callable[[], Any]
    graph: torch.cuda.CUDAGraph | None = None
    result: Any = None

    def load(self, values: Iterable[Tensor]) -> None:
        """Copy values to the inputs."""
        for tensor, value in zip(self.inputs, values, strict=True):
            tensor.copy_(value, non_blocking=True)

    def __call__(self) -> Any:
        if self.graph is None:
            return self.work()
        self.graph.replay()
        return self.result


class GraphCache:
    """The captured steps of one net on one device, each captured when it is first asked for.

    On a CPU nothing is captured, and the same code runs on the same tensors, which is how the tests
    compare it with the plain loop. If a capture fails, the reason is logged once, and everything
    runs uncaptured from then on.

    Args:
      net: the net that the steps run. A capture restores its buffers.
      stream: what the net draws from. Its generator is registered with every graph, so that replays
        draw the numbers that the plain loop would draw.
      device: of the net.
    """

    def __init__(self, net: nn.Module, stream: RngStream, device: torch.device) -> None:
        self.net, self.stream, self.device = net, stream, device
        self.capturing = device.type == "cuda"
        self._steps: dict[Hashable, CapturedStep] = {}

    def __call__(self, key: Hashable, make: Callable[[], CapturedStep]) -> CapturedStep:
        """Return the step of that key; `make` makes it if there is none yet."""
        if key not in self._steps:
            step = make()
            if len(self._steps) == MAX_STEPS:
                return step
            self._steps[key] = step
            if self.capturing:
                self._capture(step)
        return self._steps[key]

    def _capture(self, step: CapturedStep) -> None:
        before = self.stream.state()
        buffers = list(self.net.buffers())
        copies = [(tensor, tensor.clone()) for tensor in (*buffers, *step.inputs)]
        try:
            with _CAPTURE_LOCK:
                step.graph, step.result = self._capture_graph(step.work)
            if any(a is not b for a, b in zip(buffers, self.net.buffers(), strict=True)):
                raise RuntimeError("a layer replaces a buffer by a new tensor")
        except Exception as error:  # CUDA, a library or a layer may refuse in any way
            logging.getLogger("adv").warning(
                "no CUDA graphs in this training, which is slower: %s", join_lines(str(error))
            )
            self.capturing = False
            for other in self._steps.values():
                other.graph = other.result = None
            self.stream.restore(before)  # a generator that failed inside a capture is unusable
        for tensor, value in copies:
            tensor.copy_(value)

    def _capture_graph(self, work: Callable[[], Any]) -> tuple[torch.cuda.CUDAGraph, Any]:
        generator = self.stream.on(self.device)
        state = generator.get_state()
        main, side = torch.cuda.current_stream(self.device), torch.cuda.Stream(self.device)
        side.wait_stream(main)
        with torch.cuda.stream(side):  # libraries choose kernels and allocate at first calls
            for _ in range(_WARM_UP):
                work()
        main.wait_stream(side)
        generator.set_state(state)
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(generator)
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # others may use the GPU
            result = work()
        return graph, result


def replay_attack(
    graphs: GraphCache, attack: Attack, x: Tensor, y: Tensor, generator: torch.Generator
) -> Tensor:
    """Run `attack(net, x, y, generator=generator)`, with replayed steps if it is iterative.

    Images are not checked to lie in [0, 1], for which the GPU would have to wait. The next attack
    on the same shapes overwrites the result.
    """
    net = graphs.net
    if not isinstance(attack, Iterative) or attack.ball.eps == 0 or len(x) == 0:
        return attack(net, x, y, generator=generator)
    with frozen(net), fused_conv_pool(net) as form:
        clean = x.detach().float().contiguous(memory_format=form)
        state = attack.prepare(net, attack.start(clean, y, generator)).per_example()
        step = graphs(_step_key(attack, state), lambda: _make_step(net, attack, state))
        step.load(_tensors(state).values())
        for _ in range(attack.steps):
            after = step()
    return attack.result(after)


def _make_step(net: nn.Module, attack: Iterative, state: State) -> CapturedStep:
    """Return one step of the attack, from a state of these shapes, in place."""
    tensors: dict[str, Any] = {name: tensor.clone() for name, tensor in _tensors(state).items()}
    fixed = replace(state, **tensors)

    def work() -> State:
        after = attack.step(net, fixed)
        for name, tensor in tensors.items():
            if (value := getattr(after, name)) is not tensor:
                tensor.copy_(value)
        return fixed

    return CapturedStep(tuple(tensors.values()), work)


def _tensors(state: State) -> dict[str, Tensor]:
    values = {field.name: getattr(state, field.name) for field in fields(state)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def _step_key(attack: Iterative, state: State) -> Hashable:
    """Return a value that is equal for attacks and states that can share a captured step."""
    return attack.step_key(), *map(shape_of, _tensors(state).values())


def shape_of(tensor: Tensor) -> Hashable:
    """Return what must be equal for one tensor to be copied to another at a captured address."""
    return tuple(tensor.shape), tensor.dtype, tensor.stride()
