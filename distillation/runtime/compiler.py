"""Where the compiler keeps its code, so that later processes find it instead of compiling again; what it says first.

The code lies beside the work in ``.dvc/tmp/compiled`` of the repository itself, in a folder for each build of torch on each
processor and GPU. What is found there is what would be compiled: inductor names it by a hash of graph, settings and
threads. So bits do not depend on whether it was there.
"""

import functools
import hashlib
import os
import platform
import sys
from pathlib import Path

import torch

from distillation.runtime import process

CPUINFO = Path("/proc/cpuinfo")
# house: seconds to the first step of a student (ConvNet of width 32 at 32 pixels, one CPU thread, two busy cores of an AMD
# EPYC): median of five, from 34 to 52. On a GPU nothing was measured.
STUDENT = 45


def begin() -> None:
    """Has inductor, and Triton through it, keep compiled code in ``code_folder``; called before each compilation.

    A folder of the user's own that ``TORCHINDUCTOR_CACHE_DIR`` names stays.
    """
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir  # the compiler itself, a second to import

    # torch writes its default there itself, as early as a network is built, and child processes inherit it
    if os.environ.get("TORCHINDUCTOR_CACHE_DIR") in (None, default_cache_dir()):
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(code_folder())  # Triton's is in its subfolder ``triton``
    _tell()


@functools.cache  # once a process
def _tell() -> None:
    print(sentence(Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]), torch.cuda.is_available()), file=sys.stderr, flush=True)


def sentence(folder: Path, gpu: bool) -> str:
    """Says how long compiling may take.

    Args:
        folder: that of the code.
        gpu: whether there is a GPU to compile for.
    """
    if (folder / "fxgraph").is_dir():  # inductor's, once it has compiled a graph
        return "Compiling: what an earlier run compiled here is found again, in seconds."
    lasts = "a minute or more" if gpu else f"about {STUDENT} s for a student and minutes for other steps"
    return f"Compiling for this machine: {lasts}; later runs find it again."


def code_folder() -> Path:
    """The folder of compiled code for this build of torch, this processor and its first GPU.

    Its name has the build, the vector instructions or the GPU, and six digits of all three. The instructions count
    one by one, since code is compiled for the very processor: another may lack some of them, though it shares the disk.
    """
    kind = torch.cuda.get_device_name(0) if torch.cuda.is_available() else torch.backends.cpu.get_cpu_capability()
    told = hashlib.sha256("\n".join([torch.__version__, kind, processor(CPUINFO)]).encode()).hexdigest()[:6]
    return process.scratch("compiled") / f"torch-{torch.__version__}-{kind.replace(' ', '-')}-{told}"


def processor(cpuinfo: Path) -> str:
    """The processor and all its instructions, as one text.

    Args:
        cpuinfo: the kernel's description of the processor; where there is none, as on macOS, Python's is taken.
    """
    if not cpuinfo.exists():
        return f"{platform.machine()} {platform.processor()}"
    first = cpuinfo.read_text().split("\n\n")[0]  # of the first core; its clock, among others, changes all the time
    lasting = ("model name", "flags", "Features", "CPU implementer", "CPU part")
    return "\n".join(line for line in first.splitlines() if line.startswith(lasting))
