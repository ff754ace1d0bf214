"""Give the distilled images their final labels.

Reads   params.yaml: relabel.kind, relabel.<kind>, relabel.teacher, relabel.control, compute.threads; data/distilled;
        data/real/dataset; models/teachers/<relabel.teacher>
Writes  data/relabeled: distilled.safetensors, info.json, metrics.json; control.safetensors where a teacher labels
"""

import argparse
import sys
from dataclasses import replace

import torch

from stages import params as parameters
from stages.containers.distilled import FILE, DistilledSet
from stages.containers.real import RealSet
from stages.labels.predict import features, predictions
from stages.labels.settings import KINDS, RelabelCommon
from stages.runtime import device, process, tensors
from stages.runtime.errors import BadInput, guarded
from stages.runtime.generators import generator
from stages.runtime.work import writing
from stages.teachers.pool import Pool

OUT, CONTROL = "data/relabeled", "control.safetensors"


def run():
    process.begin()
    params = parameters.load()
    common = params.fields("relabel", RelabelCommon)
    settings = params.section(f"relabel.{common.kind}", KINDS[common.kind])
    compute = params.section("compute", parameters.Compute)
    device.prepare(compute.threads)
    with device.leased(compute.device) as where:
        made = DistilledSet.load(f"data/distilled/{FILE}", where)
        sets, teacher = {FILE: made}, None
        if common.kind != "keep":
            pool = Pool(f"models/teachers/{common.teacher}", where)
            if common.kind != "features" and pool.classes != made.info["classes"]:
                raise BadInput(
                    f"relabel.teacher is {common.teacher!r}, whose classes are not those of the distilled set."
                )
            if common.control:
                sets[CONTROL] = _control(made, where)
            sets = {name: _labelled(each, pool, common.kind, settings) for name, each in sets.items()}
            teacher = _about(pool, sets[FILE], common.kind, settings)
            sets = {name: replace(each, info={**each.info, "teacher": teacher}) for name, each in sets.items()}
        with writing(OUT) as out:
            for name, each in sets.items():
                each.save(out / name)
            info = {"kind": common.kind, "labels": sets[FILE].kind, "teacher": teacher, "bytes": sets[FILE].bytes}
            info["settings"] = {**common.model_dump(), common.kind: settings.model_dump()}
            tensors.save_json(out / "info.json", info)
            agreement = teacher and teacher["agreement"]
            tensors.save_json(out / "metrics.json", {} if agreement is None else {"agreement": agreement})


def _control(made, where):
    """As many random real images, of each class where the set has classes: what the same labels do without distillation."""
    data = RealSet.load("data/real/dataset", where)
    chosen = _random(made, data, generator(made.info["seed"], "control")).to(where)
    labels = None if made.labels is None else data.train.labels[chosen]
    images = made.space.encode(data.train.images[chosen].float() / 255)
    return DistilledSet(images, labels, None, made.space, {**made.info, "method": "random"})


def _random(made, data, draws):
    """Indices of random training images, as many of each class as the set has."""
    if made.labels is None:
        return torch.randperm(len(data.train), generator=draws)[: len(made.images)]
    counts = torch.bincount(made.labels.cpu(), minlength=len(data.members)).tolist()
    short = [name for name, m, n in zip(data.classes, data.members, counts, strict=True) if len(m) < n]
    if short:
        raise BadInput(f"relabel.control wants more real images of class {short[0]!r} than there are; set it to false.")
    return torch.cat(
        [m[torch.randperm(len(m), generator=draws)[:n]] for m, n in zip(data.members, counts, strict=True)]
    )


def _labelled(made, pool, kind, settings):
    """The set with the pool's labels of one kind."""
    if kind == "features":
        return replace(made, targets=features(pool, made.images, made.space), info={**made.info, "labels": "features"})

    def say(output):
        return predictions(pool, made.images, made.space, settings.pick, output)

    if kind == "hard":
        return replace(made, labels=say(lambda x: x).argmax(1), targets=None, info={**made.info, "labels": "hard"})
    if kind == "logits":
        return replace(made, targets=say(lambda x: x), info={**made.info, "labels": "logits"})
    targets = say(lambda x: (x / settings.temperature).softmax(1))
    return replace(made, targets=targets, info={**made.info, "labels": "soft"})


def _about(pool, made, kind, settings):
    """Who labelled, how good it is on the test set, and how often it agrees with the class an image was made for.

    The latter two are None where the pool knows no classes, or the images were made for none.
    """
    members = pool.members if kind != "features" and settings.pick == "mean" else pool.members[:1]
    scores = [member.accuracy for member in members if member.accuracy is not None]
    meant, agreement = DistilledSet.load(f"data/distilled/{FILE}", made.images.device).labels, None
    if kind != "features" and meant is not None:
        said = predictions(pool, made.images, made.space, settings.pick, lambda x: x).argmax(1)
        agreement = round(100 * float((said == meant).float().mean()), 2)
    return {
        "pool": pool.info["pool"],
        "networks": sorted({member.word for member in members}),
        "accuracy": round(sum(scores) / len(scores), 2) if scores else None,
        "agreement": agreement,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    sys.exit(guarded(run))
