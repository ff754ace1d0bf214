"""Notes on values that are valid but unlikely to be intended."""

from collections.abc import Iterator
from typing import Any

from distillation.datasets.catalogue import facts
from distillation.params import Params

# Path to the default, sized for digits, and the value for CIFAR-10: CLoM's for teachers, DM's (section 4.1) for the rest.
SIZED_FOR_DIGITS = {
    "teacher.main.networks": (["ConvNetD2W64NN"], ["ConvNet"]),
    "teacher.main.supervised.epochs": (30, 150),
    "teacher.main.supervised.batch": (64, 256),
    "teacher.main.supervised.lr": (0.05, 0.01),
    "method.network": ("ConvNetD2W64NN", "ConvNet"),
    "method.alpha": (100.0, 0.0),
    "method.dm.iterations": (300, 20000),
    "method.dm.batch_real": (64, 256),
    "evaluate.networks": (["ConvNetD2W64NN"], ["ConvNet"]),
    "evaluate.whole.epochs": (30, 200),
    "evaluate.whole.batch": (64, 256),
    "evaluate.whole.lr": (0.05, 0.01),
}


def notes(params: Params) -> Iterator[str]:
    """Yields a sentence for each value that is valid but unlikely to be intended; the stage check prints them.

    Such are values that are still sized for digits while another dataset is chosen, and a number of images of krr_st
    that is not that of the baselines beside it, or the default's guidance under another method.

    Args:
        params: the parameters, which passed ``check_all``.
    """
    yield from _uneven(params)
    yield from _guided(params)
    if params.value("dataset.name") == "digits":
        return
    variants = {"method": params.value("method.name"), "teacher.main": _at(params.values, "teacher.main.objective")}
    # settings of a method or objective that is not chosen change nothing, and get no note
    for path, (small, published) in SIZED_FOR_DIGITS.items():
        section, _, variant = path.rpartition(".")[0].rpartition(".")
        if variants.get(section, variant) == variant and _at(params.values, path) == small:
            yield f"{path} is {small}, sized for digits; {published} suits CIFAR-10."


def _guided(params: Params) -> Iterator[str]:
    """Yields a note if another method than dm is guided by the weight that the default has for dm."""
    weight, published = SIZED_FOR_DIGITS["method.alpha"]
    if (name := params.value("method.name")) != "dm" and params.value("method.alpha") == weight:
        yield f"method.alpha is {weight}, the default's weight for dm: it guides {name} too; {published} guides nothing."


def _at(values: Any, path: str) -> Any:
    """The value at a dotted path; None if a pool leaves it to the published value."""
    for key in path.split("."):
        values = values.get(key) if isinstance(values, dict) else None
    return values


def _uneven(params: Params) -> Iterator[str]:
    """Yields a note if krr_st, whose number of images does not depend on classes, differs from the baselines in that number."""
    images, ipc = params.value("method.krr_st.images"), params.value("method.ipc")
    native = facts(params.value("dataset.name"))
    if params.value("method.name") == "krr_st" and images and native and images != ipc * native.classes:
        yield (
            f"method.krr_st.images is {images}, but the random and k-means images beside it are {ipc * native.classes}, "
            f"method.ipc = {ipc} of each class."
        )
