"""Named random generators: every draw is a function of (seed, purpose, index), never of what was drawn before."""

import contextlib
import hashlib

import torch


def generator(seed, purpose, *index):
    """A fresh CPU generator for ``purpose`` (a word) at ``index`` (numbers or words) under ``seed``.

    Drawing on the CPU makes the draw the same for every device; being derived, it needs no place in a checkpoint.
    """
    name = "/".join(map(str, (seed, purpose, *index)))
    digest = hashlib.sha256(name.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@contextlib.contextmanager
def seeded(source):
    """Let third-party code draw from the global generators, seeded from ``source``, and put them back afterwards."""
    seed = int(torch.randint(2**31, (1,), generator=source))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
