"""How a pool labels a set: what every kind of labels is given, and what some of them share."""

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
    """A pool of teachers, the settings of the kind of labels, and what was stored before: finished tasks by their label."""

    pool: Pool
    settings: Section
    stored: Mapping[str, Task] = field(default_factory=dict)

    def predictions(self, distilled: DistilledSet, output: Callable[[Tensor], Tensor]) -> Tensor:
        """``output`` of the pool's logits (N, K) for the images of a set, by ``settings.pick``; see ``predict``."""
        return predictions(self.pool, distilled.images, distilled.space, cast("Picked", self.settings).pick, output)


def beside(distilled: DistilledSet, kind: str, settings: Section, content: Mapping[str, Tensor]) -> DistilledSet:
    """The set without targets whose labels of ``kind`` are ``content``, a file of its own, whose bytes it states."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in content.values())
    info = {**distilled.info, "labels": kind, "labelling": settings.model_dump(), "label_bytes": size}
    return replace(distilled, targets=None, info=info)


def about(pool: Pool, distilled: DistilledSet, kind: str, settings: Section) -> dict:
    """Who labels, how good it is on the test set, and how often it agrees with the class an image was made for.

    Percents; None where the pool knows no classes, or the images were made for none.
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
