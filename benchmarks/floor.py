"""The floor of a step: the seconds below which this machine cannot do its arithmetic or move its tensors.

A step of ours is run once in fp32 without the compiler. ``Counter`` adds up its convolutions and products of matrices, those
of the backward passes included: the floating-point operations, and the bytes that each reads and writes, which are
parameters, images and activations, once each. All else counts nothing, as if it were fused into its neighbours. The floor
is the larger of operations over the measured peak of a product of matrices, and bytes over the measured rate of a copy.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from benchmarks.measure import seconds_of

if TYPE_CHECKING:
    from benchmarks.measure import Step

TRIES = 5


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """What the machine reaches: operations a second of a product of matrices by precision, and bytes a second of a copy."""

    flops: dict[str, float]
    bytes: float


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a step needs: floating-point operations, and bytes in float32."""

    flops: int
    bytes: int

    def seconds(self, peaks: Peaks, precision: str) -> float:
        """The floor in seconds; bf16 moves half the bytes."""
        moved = self.bytes / (2 if precision == "bf16" else 1)
        return max(self.flops / peaks.flops[precision], moved / peaks.bytes)


class Counter(TorchDispatchMode):
    """Counts the operations of convolutions and products of matrices, and the bytes that they read and write.

    The operations are those of ``FlopCounterMode``, by the same formulas. That mode itself also follows modules by hooks,
    which a gradient of leaves (``torch.autograd.grad``) does not bear.
    """

    flops = 0
    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation and adds its arithmetic and the bytes of its tensors."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if count := flop_registry.get(func._overloadpacket):
            self.flops += count(*args, **kwargs, out_val=out)
            tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, torch.Tensor)]
            self.bytes += sum(leaf.numel() * leaf.element_size() for leaf in tensors)
        return out


def work(step: "Step") -> Work:
    """What one call of a warm, eager step needs."""
    with Counter() as counter:
        step()
    return Work(flops=counter.flops, bytes=counter.bytes)


def peaks(device: torch.device, precisions: "list[str]", size: int) -> Peaks:
    """The best of a few products of two (size, size) matrices in each precision, and of copies of 16 such matrices."""
    flops = {}
    for precision in precisions:
        left = torch.randn(size, size, device=device).to(torch.bfloat16 if precision == "bf16" else torch.float32)
        flops[precision] = 2 * size**3 / _best(lambda left=left: left @ left, device)
    source = torch.zeros(16, size, size, device=device)
    target = torch.empty_like(source)
    moved = 2 * source.numel() * source.element_size()  # it reads and writes
    return Peaks(flops=flops, bytes=moved / _best(lambda: target.copy_(source), device))


def _best(step: "Step", device: torch.device) -> float:
    step()
    return min(seconds_of(step, device) for _ in range(TRIES))
