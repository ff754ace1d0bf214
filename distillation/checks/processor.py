"""What the processor is good for: how many threads suit a network, by measurement, and whether it multiplies in bfloat16.

It says what ``compute.threads`` and ``precision`` could be, and decides nothing: results depend on both.
"""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from distillation.networks.build import build
from distillation.runtime.random import generator
from distillation.training.loop import Training
from distillation.training.losses import loss_of
from distillation.training.settings import TrainSettings

CPUINFO = Path("/proc/cpuinfo")
BF16_UNITS = ("amx_bf16", "avx512_bf16")  # Linux's names of the instructions that oneDNN multiplies bfloat16 with
STUDENTS = {"ConvNetD2W64NN": (1, 8), "ConvNet": (3, 32)}  # the default's, and CIFAR's: channels, pixels of a side
CLASSES = 10  # of both, and so the images of a step at one image a class
SECONDS = 2.0  # house: for all measurements together, beside the first step of each
# house: twice the threads suit where they make so many times the steps; else a second process uses them better
PAYS = 1.5


def thread_lines(processors: int) -> list[str]:
    """Returns a line for each of ``STUDENTS``: the threads that suit it, and its steps a second by threads."""
    counts = [2**i for i in range(processors.bit_length())]
    return [_line(network, *shape, counts) for network, shape in STUDENTS.items()]


def _line(network: str, channels: int, pixels: int, counts: list[int]) -> str:
    speeds = steps_a_second(network, channels, pixels, counts, SECONDS / len(STUDENTS))
    listed = ", ".join(f"{speed:.3g} by {count}" for count, speed in speeds.items())
    return f"compute.threads {suited(speeds)} suits {network} at {pixels} pixels (steps a second: {listed})"


def suited(speeds: dict[int, float]) -> int:
    """Returns the number of threads that suits a network: it is doubled as long as that pays (``PAYS``).

    Args:
        speeds: number of threads, each twice the one before, to steps a second.
    """
    best, *more = speeds
    for count in more:
        if speeds[count] < PAYS * speeds[best]:
            break
        best = count
    return best


def steps_a_second(network: str, channels: int, pixels: int, counts: list[int], seconds: float) -> dict[int, float]:
    """Measures the steps a second of a student by the number of threads, each in its median step.

    The numbers of threads take turns, so that other work on the machine meets all of them.

    Args:
        network: network name; it is trained on ten images, without augmentation or the compiler.
        channels: of an image.
        pixels: of a side.
        counts: numbers of threads.
        seconds: for all of them, beside the first step of each; at least one more is taken.
    """
    before, training = torch.get_num_threads(), _student(network, channels, pixels)
    taken = {count: [] for count in counts}
    try:
        for count in counts:
            _seconds(training, count)  # allocates, and starts the threads
        end = time.perf_counter() + seconds
        while True:
            for count in counts:
                taken[count].append(_seconds(training, count))
            if time.perf_counter() >= end:
                return {count: 1 / statistics.median(each) for count, each in taken.items()}
    finally:
        torch.set_num_threads(before)


def _student(network: str, channels: int, pixels: int) -> Training:
    draws = generator(0, "doctor")
    images, labels = torch.randn(CLASSES, channels, pixels, pixels, generator=draws), torch.arange(CLASSES)
    settings = TrainSettings(
        epochs=1, batch=CLASSES, lr=0.01, momentum=0.9, weight_decay=0.0, milestones=[], decay=1.0, augment="none"
    )
    module = build(network, channels, pixels, CLASSES, draws)
    return Training(
        module, lambda index: (images[index], labels[index]), CLASSES, loss_of("ce"), settings, 0, "doctor", False
    )


def _seconds(training: Training, threads: int) -> float:
    torch.set_num_threads(threads)
    before = time.perf_counter()
    training.advance()
    return time.perf_counter() - before


def half_precision(cpuinfo: Path) -> Iterator[str]:
    """Yields a line that says whether the CPU multiplies in bfloat16, if that is known.

    Args:
        cpuinfo: the kernel's description of the processor; where there is none, as on macOS, there is no line.
    """
    if not cpuinfo.exists():
        return
    flags = cpuinfo.read_text().split()
    if found := [flag for flag in BF16_UNITS if flag in flags]:
        yield (
            f"cpu has units for bf16 ({', '.join(found)}): with compile, precision bf16 speeds some steps up and slows others "
            "down; `python -m benchmarks --quick` tells which"
        )
    else:
        yield "cpu has no known units for bf16 (amx_bf16, avx512_bf16): nothing speaks for it on this cpu"
