"""The cells of the relabelled set, apart from those of other sets, whose stages run no code of labels."""

from collections.abc import Sequence

from distillation import paths
from distillation.evaluation.cells import Cell
from distillation.evaluation.sets import FromFile
from distillation.labels.teacher_batches import labels_of


def relabelled(networks: Sequence[str], seeds: int, kind: str) -> list[Cell]:
    """Students of the relabelled set and, if a teacher labelled it, of its control, whose labels are used as ``kind``."""
    return [
        Cell(set=name, source=FromFile(path, labels_of(path, kind)), network=network, seed=seed)
        for name, path in paths.LABELLED.items()
        if path.is_file()
        for network in networks
        for seed in range(seeds)
    ]
