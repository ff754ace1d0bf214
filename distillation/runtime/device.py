"""The device of a stage: leased (one stage a GPU), deterministic, in the chosen precision.

Everywhere ``choice`` is the setting ``compute.device``: ``auto`` (a GPU if there is one, else the CPU), ``cpu``,
``cuda`` (any GPU) or ``cuda:N`` (GPU number N, from 0 on).
"""

import contextlib
import ctypes
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from distillation.runtime import compiler
from distillation.runtime.errors import BadInput
from distillation.runtime.locks import first_free, owner

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The machine's part in the bits of a result, beside code, parameters and data.

    Attributes:
        device: the model of the GPU, or ``cpu`` and the vector instructions that select its kernels.
        torch: the version and build of torch.
        threads: CPU threads; they change the order of sums.
    """

    device: str
    torch: str
    threads: int


def environment(choice: str, threads: int) -> Environment:
    """Describes the device that ``choice`` selects, for the keys of tasks.

    Where ``choice`` leaves the GPU open, it is the model of the first one; ``lease_device`` then leases only that
    model.

    Args:
        choice: the setting ``compute.device``.
        threads: the setting ``compute.threads``.

    Raises:
        BadInput: ``choice`` names a GPU that this machine lacks.
    """
    count = torch.cuda.device_count()
    index = int(choice.split(":")[1]) if ":" in choice else 0
    if choice == "cpu" or (choice == "auto" and count == 0):
        model = f"cpu {torch.backends.cpu.get_cpu_capability()}"
    elif index < count:
        model = torch.cuda.get_device_name(index)
    else:
        raise BadInput(_no_gpu(choice, count))
    return Environment(device=model, torch=torch.__version__, threads=threads)


@contextlib.contextmanager
def lease_device(choice: str, locks: str, count: int | None = None) -> Iterator[torch.device]:
    """Yields the device that ``choice`` selects; a GPU is locked while the block runs, so that no other stage uses it.

    If all GPUs in question are locked, it waits without bound, after one line on stderr. The lock holds for the whole
    machine: all clones, all users, and processes that see only some of its GPUs. The CPU needs no lock.

    Args:
        choice: the setting ``compute.device``.
        locks: the setting ``compute.locks``: the folder of the lock files, or ``auto``.
        count: number of GPUs; None: those that torch sees.

    Raises:
        BadInput: ``choice`` names a GPU that this machine lacks, or the folder does not permit lock files.
    """
    count = torch.cuda.device_count() if count is None else count
    if choice == "cpu" or (choice == "auto" and count == 0):
        yield torch.device("cpu")
        return
    # of several models only that of the first card, which ``environment`` names: bits depend on it
    indices = [int(choice.split(":")[1])] if ":" in choice else [i for i in range(count) if _model(i) == _model(0)]
    if not all(index < count for index in indices) or not indices:
        raise BadInput(_no_gpu(choice, count))
    folder = _lock_folder(locks)
    paths = [folder / f"{_card(index)}.lock" for index in indices]
    with first_free(paths, "Every GPU is leased to another stage, waiting.", f"remove it, or {_ELSEWHERE}") as place:
        os.utime(paths[place])  # else a cleaner of old files could remove it while it is locked
        print(f"Leased GPU {indices[place]}.", file=sys.stderr, flush=True)
        yield torch.device("cuda", indices[place])


def _model(index: int) -> str | None:
    """The model name of GPU ``index``; None where it is not known, so that all GPUs count as one model."""
    try:
        return torch.cuda.get_device_name(index)
    except (AttributeError, AssertionError, RuntimeError):  # this torch or driver tells no name
        return None


def _card(index: int) -> str:
    """The name of GPU ``index`` that all processes share: CUDA_VISIBLE_DEVICES renumbers the GPUs for each process."""
    try:
        return str(torch.cuda.get_device_properties(index).uuid)
    except (AttributeError, AssertionError, RuntimeError):  # this torch or driver has no uuid
        return str(index)


_ELSEWHERE = "let compute.locks name another folder, the same one for all who share these GPUs"


def _lock_folder(locks: str) -> Path:
    """The folder of the lock files of all GPUs, which the whole machine shares; created if needed.

    Raises:
        BadInput: it is no folder, or this user may not create files in it.
    """
    folder = Path(tempfile.gettempdir()) / "dataset-distillation-gpus" if locks == "auto" else Path(locks)
    try:
        folder.mkdir()
        folder.chmod(0o1777)  # every user may create files, and nobody removes another's
    except FileExistsError:
        pass
    except OSError as error:
        raise BadInput(
            f"the folder {folder} for locks of GPUs cannot be made ({error.strerror}): {_ELSEWHERE}."
        ) from error
    # anybody could put a link into the shared temporary folder; a folder that params.yaml names may be one
    if not folder.is_dir() or (locks == "auto" and folder.is_symlink()):
        raise BadInput(f"{folder} should be a folder, for locks of GPUs, but is none: remove it, or {_ELSEWHERE}.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadInput(
            f"{folder}, for locks of GPUs, belongs to {owner(folder.stat().st_uid)} and is not open to others: have its mode "
            f"set to 1777, or {_ELSEWHERE}."
        )
    return folder


def _no_gpu(choice: str, count: int) -> str:
    return f"compute.device is {choice!r}, but this machine shows {count} GPUs; use auto or cpu."


def prepare(threads: int) -> None:
    """Configures torch so that the same inputs yield the same bits; called once in every process that computes.

    It holds for the whole process: the number of CPU threads, deterministic algorithms only (an operation that has none
    then raises RuntimeError), no choice of cuDNN's kernels by timing, and no TF32 in products of float32.

    Args:
        threads: CPU threads of torch, the setting ``compute.threads``.
    """
    _keep_freed_memory()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with a fixed workspace
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    # deterministic mode fills new tensors by default, which costs time and only helps code that reads before it writes
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]  # set by torch at run time
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def _keep_freed_memory() -> None:
    """Has the C library keep the memory of freed tensors for the next ones, where it can (glibc).

    By default it returns large blocks to the kernel, which fills every page anew with zeros: a third of a step of DM or
    of recovery on a CPU, and as much of a group of small networks.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(_MMAP_THRESHOLD, 1 << 30)
        library.mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)


def forget() -> None:
    """Resets the compiler, so that bits do not depend on which work shares a process; called before each compilation.

    Earlier compilations influence the choice of kernels and, past Dynamo's limit of recompiles, make later ones eager.
    What they compiled is found again on disk (``compiler.begin``).
    """
    compiler.begin()
    torch.compiler.reset()


def compiled(function: Callable, mode: str | None = None) -> Callable:
    """Compiles a network or a function by ``torch.compile``, for the exact shapes of its inputs.

    It calls ``forget`` first: whatever was compiled before is compiled again, or found on disk, when it is next called.

    Args:
        function: what is compiled.
        mode: of ``torch.compile``; see ``graphs.graphed``.
    """
    forget()
    return torch.compile(function, dynamic=False, mode=mode)


def autocast(device: torch.device | str, precision: str) -> torch.autocast:
    """Creates the context in which a network's forward pass runs.

    Args:
        device: the device of the network.
        precision: ``fp32``, which changes nothing; or ``bf16``: the operations that torch's autocast lists, such as
            convolutions and products of matrices, run in bfloat16. Weights stay float32.
    """
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=precision == "bf16")
