"""What a row will cost, estimated from its settings before anything is run: arithmetic of the networks' passes.

A backward pass counts as two forward ones. Data loading, augmentation, solving and testing are left out, so this says
which of two rows is the longer one and whether it is minutes or days, no more.
"""

from stages.datasets.catalogue import facts
from stages.networks.build import flops
from stages.teachers.settings import merged

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
    settings = (
        standard[{"keep": "hard", "probs": "soft"}.get(kind, kind)] if "standard" in evaluation["protocols"] else None
    )
    found = {f"teacher {name}": _pool(params, name) for name in params.value("teacher")}
    found["distill"] = _method(method, images, shape, params)
    if settings:
        control = kind not in ("keep", "hard") and params.value("relabel.control")
        found["evaluate"] = students(settings, images, 1 + control)
        found["baseline"] = students(standard["hard"], images, evaluation["draws"] + 2)
    found["whole"] = students(evaluation["whole"], count, 1)
    return {stage: value / 1e9 for stage, value in found.items() if value}


def _of(params, source):
    """(training images, (channels, size, classes)) of a dataset by the path of its section."""
    section = params.value(source.replace("/", "."))
    known = facts(section["name"])
    return TRAINING_IMAGES[section["name"]], (known.channels, section.get("size") or known.size, known.classes)


def _pool(params, name):
    pool = merged(params, name)
    if (settings := pool[pool["objective"]]) is None or "epochs" not in settings:
        return 0
    count, shape = _of(params, pool["source"])
    each = sum(flops(word, *shape) for word in pool["networks"]) * pool["count"]
    views = 1 if pool["objective"] == "supervised" else 2
    return each * _STEP * views * settings["epochs"] * count


def _method(method, images, shape, params):
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
    teacher = flops(merged(params, method["teacher"])["networks"][0], *shape)
    if method["name"] in ("scdd", "sre2l", "cda"):
        return settings["iterations"] * images * _STEP * teacher
    if method["name"] == "krr_st":
        made = settings["images"] or images
        return settings["iterations"] * (settings["batch_real"] * (teacher + one) + 2 * _STEP * made * one)
    return 0
