"""Where the compiler keeps its code, so that later processes find it instead of compiling again.

The code lies beside the work in ``.dvc/tmp/compiled`` of the repository itself, in a folder for each build of torch on each
processor and GPU. What is found there is what would be compiled: inductor names it by a hash of graph, settings and
threads. So bits do not depend on whether it was there.
"""

import hashlib
import os
import platform
from pathlib import Path

import torch

from distillation.runtime import process

CPUINFO = Path("/proc/cpuinfo")


def begin() -> None:
    """Has inductor, and Triton through it, keep compiled code in ``code_folder``; called before each compilation.

    A folder that ``TORCHINDUCTOR_CACHE_DIR`` names already stays, be it the user's own or that of an earlier call.
    """
    if "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(code_folder())  # Triton's is in its subfolder ``triton``


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
