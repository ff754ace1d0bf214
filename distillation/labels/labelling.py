"""The labelling of a set by a pool: the arguments of every kind of labels, and shared parts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

from torch import Tensor

from distillation.data.distilled import DistilledSet
from distillation.labels.predict import picked, predictions
from distillation.params import Section
from distillation.runtime.work import Task
from distillation.teachers.pool import Pool

if TYPE_CHECKING:
    from distillation.labels.settings import Picked

Files = dict[str, tuple[dict[str, Tensor], dict]]  # tensors and record of a file, by its name


@dataclass(frozen=True, kw_only=True)
class Labelling:
    """The arguments of a kind of labels.

    Attributes:
        pool: the teachers.
        settings: of the kind.
        stored: finished tasks that stored labels before, by their label.
    """

    pool: Pool
    settings: Section
    stored: Mapping[str, Task] = field(default_factory=dict)

    def predictions(self, distilled: DistilledSet, output: Callable[[Tensor], Tensor]) -> Tensor:
        """Applies ``output`` to the pool's logits (N, K) for the images of a set, by ``settings.pick``; see ``predict``."""
        return predictions(self.pool, distilled.images, distilled.space, cast("Picked", self.settings).pick, output)


def beside(distilled: DistilledSet, kind: str, settings: Section, content: Mapping[str, Tensor]) -> DistilledSet:
    """Returns the set without targets, with the byte count of ``content``: labels of ``kind`` in a file of their own."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in content.values())
    info = {**distilled.info, "labels": kind, "labelling": settings.model_dump(), "label_bytes": size}
    return replace(distilled, targets=None, info=info)


def about(pool: Pool, distilled: DistilledSet, kind: str, settings: Section) -> dict:
    """Returns the record of the labels: teachers, their test accuracy, and their agreement with the images' own classes.

    Both are in percent, and None if the pool has no classes or the images have none.
    """
    pick = "one" if kind == "features" else cast("Picked", settings).pick
    members = picked(pool, pick)
    scores = [member.accuracy for member in members if member.accuracy is not None]
    agreement = None
    if kind != "features" and distilled.labels is not None:
        predicted = predictions(pool, distilled.images, distilled.space, pick, lambda logits: logits).argmax(1)
        agreement = round(100 * float((predicted == distilled.labels).float().mean()), 2)
    return {
        "pool": pool.info["pool"],
        "networks": sorted({member.word for member in members}),
        "accuracy": round(sum(scores) / len(scores), 2) if scores else None,
        "agreement": agreement,
    }
