"""The cells of the relabelled set.

They have a module of their own because it imports code of labels: an edit of that code would otherwise rerun the stages
baseline and whole, too, which import ``cells``.
"""

from collections.abc import Sequence

from distillation import paths
from distillation.evaluation.cells import Cell
from distillation.evaluation.sets import FromFile
from distillation.labels.teacher_batches import labels_of


def relabelled(networks: Sequence[str], seeds: int, kind: str) -> list[Cell]:
    """Returns the students of the relabelled set and, if its control exists, of that.

    Args:
        networks: network names.
        seeds: students of each network on each set.
        kind: how the labels are used; of online and fkd, the file of labels beside the set belongs to the source.
    """
    return [
        Cell(set=name, source=FromFile(path, labels_of(path, kind)), network=network, seed=seed)
        for name, path in paths.LABELLED.items()
        if path.is_file()
        for network in networks
        for seed in range(seeds)
    ]
