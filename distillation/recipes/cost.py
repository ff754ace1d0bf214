"""Cost of a row, estimated from its settings before anything is run: floating-point operations of the networks' passes.

A backward pass counts as two forward ones. Data loading, augmentation, solving and testing are left out. The estimate
therefore shows which of two rows takes longer and whether it takes minutes or days, no more.
"""

from typing import Any

from distillation import methods
from distillation.datasets.catalogue import CATALOGUE, facts
from distillation.methods.base import Common
from distillation.methods.cost import Outline
from distillation.networks.build import flops
from distillation.params import Params
from distillation.recipes.rows import kind_of_labels
from distillation.teachers.settings import merged

_STEP = 3  # forward passes that a step costs: one, and two for the backward pass


def estimate(params: Params) -> dict[str, float]:
    """Estimates the arithmetic of the stages of one run.

    Args:
        params: the parameters, which passed ``check_all``.

    Returns:
        GFLOP by stage (``teacher NAME``, ``distill``, ``evaluate``, ``baseline``, ``whole``), without those whose cost
        is not known or 0; see ``left_out``.
    """
    costs = {f"teacher {name}": _pool(params, name) for name in params.value("teacher")}
    if _known(params, "dataset"):
        costs |= {"distill": _method(params), **_evaluation(params)}
    return {stage: cost / 1e9 for stage, cost in costs.items() if cost}


def left_out(params: Params) -> list[str]:
    """Returns phrases for what ``estimate`` leaves out: transfer, kd, and stages whose number of images is unknown."""
    stages = {"transfer": params.value("targets"), "kd": params.value("evaluate.kd.teachers")}
    pretraining = [stage for stage, used in stages.items() if used]
    phrases = [f"{', '.join(pretraining)} and the pre-training before"] if pretraining else []
    sources = dict.fromkeys(["dataset", *(merged(params, name)["source"] for name in params.value("teacher"))])
    uncounted = [source for source in sources if not _known(params, source)]
    return phrases + [f"what reads {source}, since only its files tell how many images it has" for source in uncounted]


def _known(params: Params, source: str) -> bool:
    """Whether the parameters determine the number of images of a dataset."""
    return CATALOGUE[params.value(source.replace("/", "."))["name"]].images is not None


def _size(params: Params, source: str) -> tuple[int, tuple[int, int, int]]:
    """Number of training images and (channels, size, classes) of a dataset; ``source`` is the path of its section."""
    section = params.value(source.replace("/", "."))
    native, count = facts(section["name"]), CATALOGUE[section["name"]].images
    assert native is not None and count is not None  # ``_known``
    # pixels of the settings replace those of the catalogue
    size: Any = section.get("pixels") or native.size  # a dataset without a size of its own must be given one
    return count, (native.channels, size, native.classes)


def _pool(params: Params, name: str) -> float:
    """FLOP of training a pool; 0 if its epochs or its images are unknown."""
    pool = merged(params, name)
    settings = pool[pool["objective"]]
    if "epochs" not in settings or not _known(params, pool["source"]):
        return 0
    count, shape = _size(params, pool["source"])
    each = sum(flops(word, *shape) for word in pool["networks"]) * pool["count"]
    # every self-supervised objective passes two views of an image; smaller ones beside them are not counted
    views = 1 if pool["objective"] in ("supervised", "trajectory") else 2
    return each * _STEP * views * settings["epochs"] * count


def _method(params: Params) -> float:
    """FLOP of the distillation."""
    common, (count, shape) = params.fields("method", Common), _size(params, "dataset")
    module, flip = methods.load(common.name), params.value("dataset.flip")
    outline = Outline(
        shape=shape,
        count=count,
        flip=CATALOGUE[params.value("dataset.name")].flip if flip == "auto" else flip,
        teacher=merged(params, common.teacher)["networks"][0],
    )
    return module.METHOD.estimate(common, params.section(f"method.{common.name}", module.Settings), outline).flops


def _evaluation(params: Params) -> dict[str, float]:
    """FLOP of the students of each stage that trains them."""
    evaluation, (count, shape) = params.value("evaluate"), _size(params, "dataset")
    images, kind = params.value("method.ipc") * shape[2], params.value("relabel.kind")

    def students(settings: dict[str, Any], images_per_epoch: int) -> float:
        """Operations of all students, whose epochs have so many images together."""
        return (
            sum(flops(word, *shape) for word in evaluation["networks"]) * _STEP * settings["epochs"] * images_per_epoch
        )

    costs, seeds = {}, evaluation["seeds"]
    if "standard" in evaluation["protocols"]:
        standard = evaluation["standard"]
        control = kind not in ("keep", "hard") and params.value("relabel.control")
        settings = standard[kind_of_labels(params.value("method.name"), kind)]
        costs["evaluate"] = students(settings, images * seeds * (1 + control))
        # one student a random draw; of k-means and of class means as many as of the distilled set
        costs["baseline"] = students(standard["hard"], images * (evaluation["draws"] + seeds) + shape[2] * seeds)
    return {**costs, "whole": students(evaluation["whole"], count * seeds)}
