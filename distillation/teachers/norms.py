"""The running statistics of teachers' batch norms, which recovery matches (SRe2L, SC-DD)."""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ["network", "index", "checkpoint", "layer", "channel", "mean", "variance"]


def statistics(weights: Mapping[str, Tensor]) -> "pd.DataFrame":
    """Tabulates the running mean and variance of every channel of every batch norm.

    Args:
        weights: tensors by ``<network>/<index>/<checkpoint>/<name in the state dict>``, as in a pool's file; other than
            running statistics are ignored.

    Returns:
        A table with the columns ``COLUMNS`` and a row for each channel; without batch norms it is empty. ``layer``
        counts the batch norms of a network from 1 in the order of their names, ``channel`` from 0; ``checkpoint`` is
        the entry of ``pool.keep``.
    """
    import pandas as pd  # slow to import, and no worker process needs it

    suffix, parts = ".running_mean", []
    for (network, index, checkpoint), names in _grouped(name for name in weights if name.endswith(suffix)).items():
        for layer, name in enumerate(sorted(names, key=_natural), 1):
            mean, variance = weights[name], weights[name.removesuffix(suffix) + ".running_var"]
            rows = pd.DataFrame({"channel": range(len(mean)), "mean": mean.tolist(), "variance": variance.tolist()})
            parts.append(rows.assign(network=network, index=int(index), checkpoint=checkpoint, layer=layer))
    table = pd.concat(parts, ignore_index=True) if parts else None
    return pd.DataFrame(table, columns=pd.Index(COLUMNS))


def _grouped(names: Iterable[str]) -> dict[tuple[str, ...], list[str]]:
    groups = {}
    for name in names:
        groups.setdefault(tuple(name.split("/")[:3]), []).append(name)
    return groups


def _natural(name: str) -> list[int | str]:
    """Sort key in which numbers in a name sort as numbers: body.2 before body.10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
