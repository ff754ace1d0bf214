"""Shared measurements: seconds of contestants that take turns in one run, and the memory that a step needs."""

import ctypes
import gc
import re
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

Step = Callable[[], object]  # what is timed: a call does all of a contestant's work once


def race(contestants: Mapping[str, Step], steps: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each step by its name; contestants take turns after one call each to warm up."""
    return {name: statistics.median(seconds) for name, seconds in times(contestants, steps, device).items()}


def times(contestants: Mapping[str, Step], steps: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of every one of ``steps`` calls of each contestant; they take turns after one call each to warm up."""
    seconds = {name: [] for name in contestants}
    for step in contestants.values():
        step()
    for _ in range(steps):
        for name, step in contestants.items():
            seconds[name].append(seconds_of(step, device))
    return seconds


def seconds_of(step: Step, device: torch.device) -> float:
    """Seconds that a call takes, on a GPU until its kernels have finished."""
    before = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - before


def growth(step: Step, device: torch.device) -> int:
    """Bytes that a warm ``step`` needs at its peak beyond those allocated before it.

    On CUDA these are the allocator's. On Linux they come from the kernel's high-water mark of resident memory, which is reset
    before the step, after free memory has been returned to the kernel.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    ctypes.CDLL(None).malloc_trim(0)
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    step()
    return _resident("VmHWM") - before


def table(contestants: Mapping[str, Step], steps: int, device: torch.device) -> dict[str, float]:
    """Prints seconds, ratio to the first contestant and memory of each step; returns the seconds by name."""
    seconds = race(contestants, steps, device)
    first_seconds, first_bytes = None, None
    for name, step in contestants.items():
        memory = growth(step, device)
        first_seconds, first_bytes = first_seconds or seconds[name], first_bytes or memory
        print(
            f"{name:44s} {seconds[name]:8.3f} s a step  x{first_seconds / seconds[name]:5.2f}   "
            f"{memory / 2**20:8,.0f} MiB  x{memory / first_bytes:.2f}"
        )
    return seconds


def _resident(field: str) -> int:
    """Bytes in a field of /proc/self/status."""
    return int(re.findall(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]) * 1024
