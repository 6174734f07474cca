"""GPU kernels recorded once and replayed: the CPU needs longer to launch a small kernel than the GPU to run it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Recording:
    """The kernels of a function of tensors that is called again and again with the same shapes (a CUDA graph).

    The first call runs the function. Once two calls in succession have had the same shapes, the function is recorded for
    them, and calls with these shapes replay the record on copies of their arguments; others run the function. It must not
    read a value on the CPU and may change other tensors in place only. A call overwrites what the one before returned. On a
    CPU every call runs the function.
    """

    shapes: list[torch.Size] = field(default_factory=list)  # of the latest call
    graph: torch.cuda.CUDAGraph | None = None
    arguments: list[Tensor] = field(default_factory=list)  # of the record
    results: tuple[Tensor, ...] = ()

    def __call__(self, function: Callable[..., tuple[Tensor, ...]], *arguments: Tensor) -> tuple[Tensor, ...]:
        """What ``function``, the same at every call, returns. It is not kept: its owner may own the recording."""
        before, self.shapes = self.shapes, [a.shape for a in arguments]
        wanted = [a.shape for a in self.arguments] if self.graph else before
        if not arguments[0].is_cuda or self.shapes != wanted:
            return function(*arguments)
        if self.graph is None:
            self.arguments, graph = [a.clone() for a in arguments], torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):  # computes nothing
                self.results = function(*self.arguments)
            self.graph = graph
        for kept, argument in zip(self.arguments, arguments, strict=True):
            kept.copy_(argument)
        self.graph.replay()
        return self.results
