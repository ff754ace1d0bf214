"""CUDA graphs: the kernels of a compiled function that are launched by one call, where launching takes longer than they.

A graph replays the same kernels on the same memory, and so gives the same bits; random numbers are drawn on the CPU
beforehand, none inside. What a graphed function returns, and the gradients that pass back through it, lie in memory that
its next calls write again: they hold until the next ``begin_step``. What is kept longer is cloned.
"""

from collections.abc import Callable

import torch

from distillation.runtime.device import compiled


def graphed(function: Callable, device: torch.device | str) -> Callable:
    """Compiles a network or a function as ``device.compiled`` does, on a GPU with its launches recorded as CUDA graphs.

    torch records a graph for each sequence of calls of a step, and keeps memory for each; a function that it cannot
    record, such as one that computes on the CPU, runs compiled alone.

    Args:
        function: called with tensors of a few shapes; parameters and buffers of a network are changed in place alone.
        device: of its tensors. Elsewhere than on a GPU there are no graphs.
    """
    return compiled(function, mode="reduce-overhead") if torch.device(device).type == "cuda" else compiled(function)


def begin_step(device: torch.device | str, compile: bool) -> None:
    """Tells torch that a step begins, so that graphs may write over what those of the last step returned.

    Every loop that calls a graphed function calls it once a step, before the first call. Without it torch guesses where
    a step begins, and takes the second chunk of one for the next.

    Args:
        device: of the step.
        compile: whether the step calls a graphed function at all.
    """
    if compile and torch.device(device).type == "cuda":
        torch.compiler.cudagraph_mark_step_begin()
