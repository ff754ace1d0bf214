"""What the batch norms of teachers saw in training: the statistics that recovery matches (SRe2L, SC-DD)."""

import re

import pandas as pd

COLUMNS = ["network", "index", "checkpoint", "layer", "channel", "mean", "variance"]


def statistics(weights):
    """The running mean and variance of every channel: a row each, layers from 1 in the order of the network.

    Args:
        weights: tensors under ``<network>/<index>/<checkpoint>/<name>``, as a pool's file holds them.
    """
    suffix, parts = ".running_mean", []
    for (network, index, checkpoint), names in _grouped(name for name in weights if name.endswith(suffix)).items():
        for layer, name in enumerate(sorted(names, key=_natural), 1):
            mean, variance = weights[name], weights[name.removesuffix(suffix) + ".running_var"]
            rows = pd.DataFrame({"channel": range(len(mean)), "mean": mean.tolist(), "variance": variance.tolist()})
            parts.append(rows.assign(network=network, index=int(index), checkpoint=checkpoint, layer=layer))
    return pd.concat(parts, ignore_index=True)[COLUMNS] if parts else pd.DataFrame(columns=COLUMNS)


def _grouped(names):
    groups = {}
    for name in names:
        groups.setdefault(tuple(name.split("/")[:3]), []).append(name)
    return groups


def _natural(name):
    """Numbers in a name sort as numbers: body.2 before body.10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
