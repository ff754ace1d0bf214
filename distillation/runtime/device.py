"""The device of a stage: leased, deterministic, in the precision asked for."""

import contextlib
import fcntl
import os
import sys
import tempfile
import time
from pathlib import Path

import torch

from distillation.runtime.errors import BadInput


@contextlib.contextmanager
def lease_device(choice, count=None):
    """The device that ``choice`` (auto, cpu, cuda, cuda:N) means; a GPU is ours alone while the block runs.

    Alone among all that lease on this machine: clones, users, and processes that see some of its cards only.

    Raises:
        BadInput: a GPU is asked for that is not there.
    """
    count = torch.cuda.device_count() if count is None else count
    if choice == "cpu" or (choice == "auto" and count == 0):
        yield torch.device("cpu")
        return
    wanted = [int(choice.split(":")[1])] if ":" in choice else range(count)
    if not all(index < count for index in wanted) or not wanted:
        raise BadInput(_no_gpu(choice, count))
    with _first_free(wanted) as index:
        yield torch.device("cuda", index)


@contextlib.contextmanager
def _first_free(indices):
    with contextlib.ExitStack() as stack:
        files = {index: stack.enter_context(_lock_file(_card(index))) for index in indices}
        told = False
        while True:
            for index, file in files.items():
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.utime(file.fileno())  # or what clears old files away could take it while it is locked
                    print(f"Leased GPU {index}.", file=sys.stderr, flush=True)
                    yield index
                    return
            if not told:
                print("Every GPU is leased to another stage, waiting.", file=sys.stderr, flush=True)
                told = True
            time.sleep(1)


def _card(index):
    """What the GPU ``index`` is called by every process here: CUDA_VISIBLE_DEVICES numbers them anew for each."""
    try:
        return str(torch.cuda.get_device_properties(index).uuid)
    except (AttributeError, AssertionError, RuntimeError):  # this torch or driver tells no name
        return str(index)


def _lock_file(card):
    """The open lock file of a card, in a folder of the whole machine."""
    folder = Path(tempfile.gettempdir()) / "dataset-distillation-gpus"
    path = folder / f"{card}.lock"
    before = os.umask(0)  # every user may lock it, whoever was the first
    try:
        folder.mkdir(mode=0o1777, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.touch(mode=0o666, exist_ok=False)
    finally:
        os.umask(before)
    return open(path, "r+")  # creates nothing: Linux refuses that of another user's file in such a folder


def made_on(choice):
    """What bits depend on beside the inputs: the model of the device that ``choice`` means, and the torch build."""
    cpu = choice == "cpu" or (choice == "auto" and not torch.cuda.is_available())
    index = int(choice.split(":")[1]) if ":" in choice else 0
    if not cpu and index >= torch.cuda.device_count():
        raise BadInput(_no_gpu(choice, torch.cuda.device_count()))
    return {"device": "cpu" if cpu else torch.cuda.get_device_name(index), "torch": torch.__version__}


def _no_gpu(choice, count):
    return f"compute.device is {choice!r}, but this machine shows {count} GPUs; use auto or cpu."


def prepare(threads):
    """Settings under which the same inputs give the same bits; call once in every process that computes."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with a fixed workspace
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def forget():
    """Forget what this process compiled before.

    It would choose the kernels, and past Dynamo's limit of recompiles make them eager, so that bits depended on which work
    shares a process.
    """
    torch.compiler.reset()


def compiled(function):
    """A network or function compiled for the shapes that it is given, all that was compiled before forgotten."""
    forget()
    return torch.compile(function, dynamic=False)


def autocast(device, precision):
    """The context in which networks run forwards: ``fp32`` as they are, or ``bf16`` where autocast finds it safe."""
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=precision == "bf16")
