"""The labelling of a set by a pool: the arguments of every kind of labels, and what several kinds share."""

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
    """The arguments of the function ``label`` of every kind.

    Attributes:
        pool: the teachers.
        settings: the section of the kind.
        stored: the finished tasks of the kind's ``jobs``, by their label; empty for kinds without jobs.
    """

    pool: Pool
    settings: Section
    stored: Mapping[str, Task] = field(default_factory=dict)

    def predictions(self, distilled: DistilledSet, output: Callable[[Tensor], Tensor]) -> Tensor:
        """Computes the pool's predictions for the images of a set, by ``settings.pick``.

        Args:
            distilled: the set.
            output: function of one teacher's logits (N, K).

        Returns:
            What ``output`` returns, averaged over the teachers; see ``predict.predictions``.
        """
        return predictions(self.pool, distilled.images, distilled.space, cast("Picked", self.settings).pick, output)


def beside(distilled: DistilledSet, kind: str, settings: Section, content: Mapping[str, Tensor]) -> DistilledSet:
    """Returns a set whose labels are a file of their own: without targets, and with a record of that file.

    Args:
        distilled: the set.
        kind: ``online`` or ``fkd``.
        settings: the section of the kind, recorded as ``labelling``: students need its temperature.
        content: the tensors of the file, whose size is recorded as ``label_bytes``.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in content.values())
    info = {**distilled.info, "labels": kind, "labelling": settings.model_dump(), "label_bytes": size}
    return replace(distilled, targets=None, info=info)


def about(pool: Pool, distilled: DistilledSet, kind: str, settings: Section) -> dict:
    """Returns the record of who labels a set, which is stored with it and shown in the report.

    Args:
        pool: the teachers.
        distilled: the set, with the images that teachers see.
        kind: the kind of labels, ``relabel.kind``.
        settings: the section of the kind.

    Returns:
        ``pool`` (its name); ``networks``, names of the teachers that label; ``accuracy``, the mean of their test
        accuracies in percent, None if none has any; ``agreement``, percent of the images to which they give the class
        that the image was made for, None for the kind features and for images without classes.
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
