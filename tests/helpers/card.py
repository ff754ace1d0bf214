"""A GPU that is only pretended: tensors that say ``cuda:0``, hold their numbers on the CPU, and note what would wait.

Code that runs on a `Card` takes the very branches that it would take on a GPU, with true numbers. The card notes each
operation for which the host of a true one would wait: a number read from the device, a copy to the CPU, a copy from
memory that is not pinned, an operation whose result has a size that only the device knows.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from distillation.augment import adapt
from tests.helpers.clones import ROOT

DEVICE = torch.device("cuda", 0)
aten = torch.ops.aten
# operations whose result, or whose check, the host has to see before it goes on
WAITING = {
    aten._local_scalar_dense,
    aten.nonzero,
    aten.masked_select,
    aten.equal,
    aten.bincount,
    aten.unique_consecutive,
    aten.unique_dim,
    aten._unique2,
    aten._linalg_check_errors,
    aten.is_nonzero,
}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index}


class OnCard(Tensor):
    """A tensor of the card: shapes for torch, ``inner`` with the numbers on the CPU."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor) -> "OnCard":
        """Wraps a CPU tensor, not copied."""
        wrapped = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), inner.stride(), inner.storage_offset(), dtype=inner.dtype, layout=inner.layout,
            device="meta",
        )  # fmt: skip
        wrapped.inner = inner.detach()
        return wrapped

    @property
    def device(self) -> torch.device:
        """The pretended GPU."""
        return DEVICE

    @property
    def is_cuda(self) -> bool:
        """True."""
        return True

    def tolist(self) -> Any:
        """The numbers, after a copy to the CPU: torch's own refuses subclasses."""
        return self.cpu().tolist()

    def __repr__(self, *_: Any, **__: Any) -> str:
        """Shows the numbers, without an operation that would be noted."""
        return f"OnCard({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation outside a Card's mode: there should be none."""
        raise AssertionError(f"{func} runs outside of the card")


class Card(TorchDispatchMode):
    """The pretended GPU, as a context: what is made on or moved to ``cuda:0`` becomes an `OnCard`.

    Attributes:
        waits: while `watching`, (operation, ``file.py:function`` of ours that called it) of each wait.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[tuple[str, str]] = []
        self.noting = False
        self.pinned: set[int] = set()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Notes waits while the block runs."""
        self.noting = True
        try:
            yield
        finally:
            self.noting = False

    def wait(self, what: str) -> None:
        """Notes one."""
        if self.noting:
            self.waits.append((what, _caller()))

    def pin(self, tensor: Tensor) -> Tensor:
        """What ``Tensor.pin_memory`` does here: a copy that is known as pinned."""
        assert not isinstance(tensor, OnCard), "only memory of the CPU is pinned"
        copy = tensor.clone()
        copy.of_pinned_memory = True
        return copy

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs one operation on the CPU; its results are on the card if an argument is, or if it names the card."""
        kwargs, packet = dict(kwargs or {}), func.overloadpacket
        tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
        ours = [tensor for tensor in tensors if isinstance(tensor, OnCard)]
        target = torch.device(kwargs["device"]).type if kwargs.get("device") is not None else None
        target = "cuda" if target == "meta" else target  # what torch itself sees of an OnCard, as in ``x.to(other)``
        if not ours and target != "cuda":
            return func(*args, **kwargs)
        self._note(packet, args, kwargs, tensors, ours, target)
        if target:
            kwargs["device"] = torch.device("cpu")
        plain_args, plain = tree_map(lambda value: value.inner if isinstance(value, OnCard) else value, (args, kwargs))
        result = func(*plain_args, **plain)
        if target == "cpu":
            return result
        known = {id(plain): given for given, plain in zip(tensors, _plain(tensors), strict=True)}

        def wrapped(value: Any) -> Any:
            # what an operation changed in place is the tensor that it was given
            if not isinstance(value, Tensor):
                return value
            return known[id(value)] if id(value) in known else OnCard(value)

        return tree_map(wrapped, result)

    def _note(self, packet: Any, args: Any, kwargs: Any, tensors: list, ours: list, target: str | None) -> None:
        """Notes the wait of an operation, if it has one; refuses what a true card would refuse."""
        others = [tensor for tensor in tensors if not isinstance(tensor, OnCard)]
        if packet in WAITING and ours:
            self.wait(packet.__name__)
        elif packet is aten.repeat_interleave and "output_size" not in kwargs:
            self.wait("repeat_interleave")
        elif packet is aten._to_copy:
            if ours and target == "cpu":
                self.wait("copy to the CPU")
            if not ours:
                self._arrive(args[0], kwargs)
        elif packet is aten.copy_:
            if others and others[0] is args[0]:
                self.wait("copy to the CPU")
            elif others:
                self._arrive(args[1], {"non_blocking": (args[2:] or [kwargs.get("non_blocking")])[0]})
        elif packet in INDEXING:
            indices = [index for index in args[1] if index is not None]
            if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
                self.wait("index by a mask")
            if any(not isinstance(index, OnCard) for index in indices):
                self.wait("index on the CPU")
        else:
            names = packet.__name__
            assert not [t for t in others if t.ndim] or names.startswith("_foreach"), (
                f"{names} mixes devices at {_caller()}"
            )

    def _arrive(self, tensor: Tensor, kwargs: dict) -> None:
        """Notes a copy to the card that waits: from memory that is not pinned, or a blocking one."""
        if tensor.ndim == 0 and not hasattr(tensor, "of_pinned_memory"):
            self.wait("copy of a number")
        elif not (hasattr(tensor, "of_pinned_memory") and kwargs.get("non_blocking")):
            self.wait("copy from memory that is not pinned")


def _plain(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.inner if isinstance(tensor, OnCard) else tensor for tensor in tensors]


def _caller() -> str:
    """``file.py:function`` of the innermost frame of our code."""
    frame, root = sys._getframe(1), str(ROOT / "distillation")
    while frame:
        if frame.f_code.co_filename.startswith(root):
            return f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_qualname}"
        frame = frame.f_back
    return "elsewhere"


@contextmanager
def pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[Card]:
    """Yields a Card, in whose context the block runs."""
    card = Card()
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor, *_: card.pin(tensor))
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)  # there need be no driver
    monkeypatch.setattr(torch, "tensor", _numbers(card, torch.tensor))
    monkeypatch.setattr(torch, "autocast", _autocast(torch.autocast))
    try:
        with card:
            yield card
    finally:
        for cache in (adapt._luma, adapt._weights):
            cache.cache_clear()  # they hold tensors of this card


def _numbers(card: Card, plain: Callable) -> Callable:
    """``torch.tensor``, which torch moves to its device below the level of the card's mode."""

    def tensor(data: Any, *, device: Any = None, **more: Any) -> Tensor:
        made = plain(data, **more)
        if device is None or torch.device(device).type != "cuda":
            return made
        card.wait("copy of numbers")
        return OnCard(made)

    return tensor


def _autocast(plain: Callable) -> Callable:
    """``torch.autocast`` of the CPU, where the numbers are computed."""
    return lambda device_type, **more: plain("cpu", **more)
