"""Work on tensors that stay where they are: captured once as a CUDA graph, and replayed.

Python starts a kernel in some five microseconds, and most kernels of a small net take less: a GPU
that runs BigNet's attack waits for its program. A graph starts them all at once. What changes from
one replay to the next (images, labels, eps, the length of a step) is copied to where the graph
looks for it, so a curriculum captures nothing anew.
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
from adv.runtime.frozen import frozen
from adv.runtime.fused_cpu import fused_conv_pool
from adv.runtime.random_streams import RngStream

MOST = 16
"""Works that one training keeps; each has a shape of its own. What comes later runs plainly."""

_WARM_UP = 3
_ONE_AT_A_TIME = threading.Lock()  # of the threads that train side by side in one process


@dataclass(eq=False)
class CapturedStep:
    """Some work, and the tensors that it reads.

    Args:
      places: what `load` fills.
      work: reads the places, and whatever else stays in place, such as weights. What it returns
        lies in places too: the next call overwrites it.
    """

    places: tuple[Tensor, ...]
    work: Callable[[], Any]
    graph: torch.cuda.CUDAGraph | None = None
    found: Any = None

    def load(self, values: Iterable[Tensor]) -> None:
        """Copy values to the places."""
        for place, value in zip(self.places, values, strict=True):
            place.copy_(value, non_blocking=True)

    def __call__(self) -> Any:
        if self.graph is None:
            return self.work()
        self.graph.replay()
        return self.found


class GraphCache:
    """The works of one net on one device, each captured when it is first asked for.

    On a CPU nothing is captured, and the same code runs on the same places: that is how the tests
    compare it with the plain loop. Where a capture fails the reason is logged, once, and everything
    runs uncaptured from then on.

    Args:
      net: what the works run. A capture leaves its buffers as they were.
      stream: what the net draws from. Its generator is registered with every graph, so a replay
        draws on, with the numbers that the plain loop would draw.
      device: where.
    """

    def __init__(self, net: nn.Module, stream: RngStream, device: torch.device) -> None:
        self.net, self.stream, self.device = net, stream, device
        self.capturing = device.type == "cuda"
        self._made: dict[Hashable, CapturedStep] = {}

    def __call__(self, kind: Hashable, make: Callable[[], CapturedStep]) -> CapturedStep:
        """The work of that kind; `make` makes it where there is none yet."""
        if kind not in self._made:
            made = make()
            if len(self._made) == MOST:
                return made
            self._made[kind] = made
            if self.capturing:
                self._capture(made)
        return self._made[kind]

    def _capture(self, replay: CapturedStep) -> None:
        before = self.stream.state()
        buffers = list(self.net.buffers())
        kept = [(tensor, tensor.clone()) for tensor in (*buffers, *replay.places)]
        try:
            with _ONE_AT_A_TIME:
                replay.graph, replay.found = self._captured(replay.work)
            if any(a is not b for a, b in zip(buffers, self.net.buffers(), strict=True)):
                raise RuntimeError("a layer puts a new tensor in the place of a buffer")
        except Exception as error:  # CUDA, a library or a layer may refuse in any way
            logging.getLogger("adv").warning(
                "no CUDA graphs in this training, which is slower: %s", " ".join(str(error).split())
            )
            self.capturing = False
            for made in self._made.values():
                made.graph = made.found = None
            self.stream.restore(before)  # a generator that broke off inside a capture is lost
        for tensor, value in kept:
            tensor.copy_(value)

    def _captured(self, work: Callable[[], Any]) -> tuple[torch.cuda.CUDAGraph, Any]:
        generator = self.stream.on(self.device)
        drawn = generator.get_state()
        here, aside = torch.cuda.current_stream(self.device), torch.cuda.Stream(self.device)
        aside.wait_stream(here)
        with torch.cuda.stream(aside):  # libraries choose kernels and take memory at first calls
            for _ in range(_WARM_UP):
                work()
        here.wait_stream(aside)
        generator.set_state(drawn)
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(generator)
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # others may use the GPU
            found = work()
        return graph, found


def replay_attack(
    replays: GraphCache, attack: Attack, x: Tensor, y: Tensor, generator: torch.Generator
) -> Tensor:
    """`attack(net, x, y, generator=generator)` with one replayed step where there are steps.

    The images are trusted to lie in [0, 1]: to look would stop a GPU. What is returned is
    overwritten by the next attack of these shapes.
    """
    net = replays.net
    if not isinstance(attack, Iterative) or attack.ball.eps == 0 or len(x) == 0:
        return attack(net, x, y, generator=generator)
    with frozen(net), fused_conv_pool(net) as form:
        clean = x.detach().float().contiguous(memory_format=form)
        state = attack.prepare(net, attack.start(clean, y, generator)).per_example()
        step = replays(_kind(attack, state), lambda: _stepped(net, attack, state))
        step.load(_tensors(state).values())
        for _ in range(attack.steps):
            after = step()
    return attack.result(after)


def _stepped(net: nn.Module, attack: Iterative, state: State) -> CapturedStep:
    """One step of an attack like this one, from a state like this one."""
    places = {name: tensor.clone() for name, tensor in _tensors(state).items()}
    changed: Any = places
    still = replace(state, **changed)

    def work() -> State:
        after = attack.step(net, still)
        for name, place in places.items():
            if (value := getattr(after, name)) is not place:
                place.copy_(value)
        return still

    return CapturedStep(tuple(places.values()), work)


def _tensors(state: State) -> dict[str, Tensor]:
    values = {field.name: getattr(state, field.name) for field in fields(state)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def _kind(attack: Iterative, state: State) -> Hashable:
    """A value that is equal for attacks and states that can share a captured step."""
    return attack.step_key(), *map(shape_of, _tensors(state).values())


def shape_of(tensor: Tensor) -> Hashable:
    """What must be the same for a tensor to lie in the place of another."""
    return tuple(tensor.shape), tensor.dtype, tensor.stride()
