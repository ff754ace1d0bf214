"""What a measurement must name: processor or card, instruction sets, threads, torch, commit."""

import platform
import subprocess
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
SETS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")  # of /proc/cpuinfo, those that decide speed here


def describe(device: torch.device, threads: int) -> dict[str, str | int]:
    """The columns of a row that name the machine."""
    model, sets = _processor()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else model
    return {
        "machine": name,
        "sets": " ".join(sets),
        "threads": threads,
        "torch": torch.__version__,
        "commit": _commit(),
    }


def has_bf16(device: torch.device) -> bool:
    """Whether the device has units for bfloat16."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(_processor()[1]))


def _processor() -> tuple[str, list[str]]:
    """The model of the processor and its instruction sets, as far as the kernel tells them."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    entries = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = set(entries.get("flags", entries.get("features", "")).split())
    model = entries.get("model name") or platform.processor() or platform.machine()
    return model, [name for name in SETS if name in flags]


def _commit() -> str:
    """The commit of the checkout, with + where files differ from it; ``unknown`` outside one."""
    try:
        command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--abbrev=10", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
