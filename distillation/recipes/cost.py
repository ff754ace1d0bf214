"""What a row will cost, estimated from its settings before anything is run: arithmetic of the networks' passes.

A backward pass counts as two forward ones. Data loading, augmentation, solving and testing are left out, so this says
which of two rows is the longer one and whether it is minutes or days, no more.
"""

from distillation.datasets.catalogue import CATALOGUE, facts
from distillation.networks.build import flops
from distillation.recipes.rows import kind_of_labels
from distillation.teachers.settings import merged

TRAINING_IMAGES = {
    "digits": 1442,
    "mnist": 60_000,
    "fashionmnist": 60_000,
    "svhn": 73_257,
    "cifar10": 50_000,
    "cifar100": 50_000,
    "stl10": 5_000,
    "tinyimagenet": 100_000,
    "imagenette": 9_469,
    "imagenet64": 1_281_167,
}
_OUTER = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}  # DC's and DSA's, by ipc
_STEP = 3  # forward and backward


def estimate(params):
    """GFLOP by stage of a Params, of the stages whose cost is known."""
    count, shape = _of(params, "dataset")
    method, evaluation = params.value("method"), params.value("evaluate")
    images = method["ipc"] * shape[2]

    def students(settings, many, sets):
        each = sum(flops(word, *shape) for word in evaluation["networks"]) * evaluation["seeds"]
        return sets * each * _STEP * settings["epochs"] * many

    kind = params.value("relabel.kind")
    standard = evaluation["standard"]
    asked = "standard" in evaluation["protocols"]
    settings = standard[kind_of_labels(method["name"], kind)] if asked else None
    found = {f"teacher {name}": _pool(params, name) for name in params.value("teacher")}
    found["distill"] = _method(method, images, count, shape, params)
    if settings:
        control = kind not in ("keep", "hard") and params.value("relabel.control")
        found["evaluate"] = students(settings, images, 1 + control)
        found["baseline"] = students(standard["hard"], images, evaluation["draws"] + 2)
    found["whole"] = students(evaluation["whole"], count, 1)
    return {stage: value / 1e9 for stage, value in found.items() if value}


def left_out(params):
    """Which stages train networks that ``estimate`` leaves out, pre-training included."""
    stages = {"transfer": params.value("targets"), "kd": params.value("evaluate.kd.teachers")}
    return [stage for stage, asked in stages.items() if asked]


def _of(params, source):
    """(training images, (channels, size, classes)) of a dataset by the path of its section."""
    section = params.value(source.replace("/", "."))
    known = facts(section["name"])
    return TRAINING_IMAGES[section["name"]], (known.channels, section.get("size") or known.size, known.classes)


def _pool(params, name):
    pool = merged(params, name)
    if "epochs" not in (settings := pool[pool["objective"]]):
        return 0
    count, shape = _of(params, pool["source"])
    each = sum(flops(word, *shape) for word in pool["networks"]) * pool["count"]
    views = 1 if pool["objective"] in ("supervised", "trajectory") else 2
    return each * _STEP * views * settings["epochs"] * count


def _method(method, images, count, shape, params):
    """Operations of a method, by its loop as its file describes it; 0 for one that selects."""
    one = flops(method["network"], *shape)
    settings = method[method["name"]]
    if method["name"] == "dm":
        return settings["iterations"] * one * (shape[2] * settings["batch_real"] + _STEP * images)
    if method["name"] in ("dc", "dsa"):
        outer, inner = (settings[key] for key in ("outer", "inner"))
        outer, inner = (
            _OUTER.get(method["ipc"], (1, 1))[i] if v == "auto" else v for i, v in enumerate((outer, inner))
        )
        update = _STEP * shape[2] * settings["batch_real"] + 3 * _STEP * images
        return settings["iterations"] * one * (outer * update + (outer - 1) * inner * _STEP * images)
    if method["name"] == "apm":
        batch = min(settings["batch_syn"] or images, images)
        students = settings["iterations"] / settings["refresh"] * settings["epochs"] * _STEP * batch
        return one * (students + settings["iterations"] * (settings["snapshots"] + 1) * _STEP * batch)
    if method["name"] == "mtt":
        return one * _walked(settings, images)
    if method["name"] == "frepo":
        return one * _regressed(settings, images, count, params)
    if method["name"] == "kip":
        return _kernels(settings, images, count, shape)
    teacher = flops(merged(params, method["teacher"])["networks"][0], *shape)
    if method["name"] in ("scdd", "sre2l", "cda"):
        return settings["iterations"] * images * _STEP * teacher
    if method["name"] == "krr_st":
        made = settings["images"] or images
        return settings["iterations"] * (settings["batch_real"] * (teacher + one) + 2 * _STEP * made * one)
    return 0


def _walked(settings, images):
    """Forward passes of images by MTT: a gradient's gradient is seven, and retracing the walk another step."""
    walked = settings["iterations"] * settings["steps"] * min(settings["batch_syn"] or images, images)
    return walked * (7 if settings["gradient"] == "unrolled" else 7 + _STEP)


def _regressed(settings, images, count, params):
    """Forward passes of images by FRePo, the steps of its pool included."""
    flip = params.value("dataset.flip")
    flip = CATALOGUE[params.value("dataset.name")].flip if flip == "auto" else flip
    moved = images * (2 if settings["mirror"] and flip else 1) + min(images, settings["batch_syn"])
    return settings["iterations"] * (min(settings["batch_real"], count) + _STEP * moved)


def _kernels(settings, images, count, shape):
    """Operations of KIP, which passes nothing through a network: products of its kernels."""
    channels, size, classes = shape
    products = _STEP * settings["iterations"] * (min(settings["batch_real"] * classes, count) + images)
    products += count * (settings["labels"] == "solved")
    return 2 * products * images * channels * size**2
