"""The device of a stage: leased, deterministic, in the precision asked for."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from distillation.runtime.errors import BadInput
from distillation.runtime.locks import first_free


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What bits depend on beside code, parameters and data.

    Attributes:
        device: the model of the GPU, or ``cpu`` and the vector instructions that its kernels are chosen by.
        torch: the build.
        threads: CPU threads; they change the order of sums.
    """

    device: str
    torch: str
    threads: int


def environment(choice: str, threads: int) -> Environment:
    """The Environment of the device that ``choice`` (auto, cpu, cuda, cuda:N) means. Raises BadInput as ``lease_device``."""
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
def lease_device(choice: str, count: int | None = None) -> Iterator[torch.device]:
    """The device that ``choice`` (auto, cpu, cuda, cuda:N) means; a GPU is ours alone while the block runs.

    Alone among all that lease on this machine: clones, users, and processes that see some of its cards only.

    Raises:
        BadInput: a GPU is asked for that is not there.
    """
    count = torch.cuda.device_count() if count is None else count
    if choice == "cpu" or (choice == "auto" and count == 0):
        yield torch.device("cpu")
        return
    indices = [int(choice.split(":")[1])] if ":" in choice else list(range(count))
    if not all(index < count for index in indices) or not indices:
        raise BadInput(_no_gpu(choice, count))
    locks = [_lock_file(_card(index)) for index in indices]
    with first_free(locks, "Every GPU is leased to another stage, waiting.") as place:
        os.utime(locks[place])  # or what clears old files away could take it while it is locked
        print(f"Leased GPU {indices[place]}.", file=sys.stderr, flush=True)
        yield torch.device("cuda", indices[place])


def _card(index: int) -> str:
    """What the GPU ``index`` is called by every process here: CUDA_VISIBLE_DEVICES numbers them anew for each."""
    try:
        return str(torch.cuda.get_device_properties(index).uuid)
    except (AttributeError, AssertionError, RuntimeError):  # this torch or driver tells no name
        return str(index)


def _lock_file(card: str) -> Path:
    """The lock file of a card, in a folder of the whole machine."""
    folder = Path(tempfile.gettempdir()) / "dataset-distillation-gpus"
    path = folder / f"{card}.lock"
    before = os.umask(0)  # every user may lock it, whoever was the first
    try:
        folder.mkdir(mode=0o1777, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.touch(mode=0o666, exist_ok=False)
    finally:
        os.umask(before)
    return path


def _no_gpu(choice: str, count: int) -> str:
    return f"compute.device is {choice!r}, but this machine shows {count} GPUs; use auto or cpu."


def prepare(threads: int) -> None:
    """Settings under which the same inputs give the same bits; call once in every process that computes."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with a fixed workspace
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def forget() -> None:
    """Forget what this process compiled before.

    It would choose the kernels, and past Dynamo's limit of recompiles make them eager, so that bits depended on which work
    shares a process.
    """
    torch.compiler.reset()


def compiled(function: Callable) -> Callable:
    """A network or function compiled for the shapes that it is given, all that was compiled before forgotten."""
    forget()
    return torch.compile(function, dynamic=False)


def autocast(device: torch.device | str, precision: str) -> torch.autocast:
    """The context in which networks run forwards: ``fp32`` as they are, or ``bf16`` where autocast finds it safe."""
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=precision == "bf16")
