"""Named random generators: every draw is a function of (seed, purpose, index), never of earlier draws.

So a resumed run draws what an uninterrupted one would have drawn, and a new use of random numbers changes no old one.
"""

import contextlib
import hashlib
from collections.abc import Iterator

import torch


def generator(seed: int, purpose: str, *index: int | str) -> torch.Generator:
    """Derives a fresh CPU generator from (seed, purpose, index).

    Draws on the CPU are the same for every device. A derived generator needs no place in a checkpoint.

    Args:
        seed: seed of the run.
        purpose: a word that names the use, such as ``order``.
        *index: numbers or words that tell uses of one purpose apart, such as the epoch.

    Returns:
        A new generator; equal arguments give generators of equal draws.
    """
    name = "/".join(map(str, (seed, purpose, *index)))
    digest = hashlib.sha256(name.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)  # 63 bits: torch's seeds are signed


@contextlib.contextmanager
def seeded(source: torch.Generator) -> Iterator[None]:
    """Seeds torch's global generators (CPU and GPUs) from ``source`` while the block runs, then restores them.

    For code of libraries that draws from the global generators, such as the initial weights of a layer.

    Args:
        source: a CPU generator; one number is drawn from it.
    """
    seed = int(torch.randint(2**31, (1,), generator=source))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
