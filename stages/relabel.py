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
from stages.labels.predict import predictions
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
            if pool.classes != made.info["classes"]:
                raise BadInput(
                    f"relabel.teacher is {common.teacher!r}, whose classes are not those of the distilled set."
                )
            if common.control:
                sets[CONTROL] = _control(made, where)
            sets = {name: _labelled(each, pool, common.kind, settings) for name, each in sets.items()}
            teacher = _about(pool, sets[FILE], settings)
            sets = {name: replace(each, info={**each.info, "teacher": teacher}) for name, each in sets.items()}
        with writing(OUT) as out:
            for name, each in sets.items():
                each.save(out / name)
            info = {"kind": common.kind, "labels": sets[FILE].kind, "teacher": teacher, "bytes": sets[FILE].bytes}
            info["settings"] = {**common.model_dump(), common.kind: settings.model_dump()}
            tensors.save_json(out / "info.json", info)
            tensors.save_json(out / "metrics.json", {"agreement": teacher["agreement"]} if teacher else {})


def _control(made, where):
    """As many random real images of each class: what the same labels do without distillation."""
    data = RealSet.load("data/real/dataset", where)
    draws = generator(made.info["seed"], "control")
    counts = torch.bincount(made.labels.cpu(), minlength=len(data.members)).tolist()
    short = [name for name, m, n in zip(data.classes, data.members, counts, strict=True) if len(m) < n]
    if short:
        raise BadInput(f"relabel.control wants more real images of class {short[0]!r} than there are; set it to false.")
    chosen = [m[torch.randperm(len(m), generator=draws)[:n]] for m, n in zip(data.members, counts, strict=True)]
    chosen = torch.cat(chosen).to(where)
    info = {**made.info, "method": "random"}
    return DistilledSet(data.encode(data.train.images[chosen]), data.train.labels[chosen], None, data.space, info)


def _labelled(made, pool, kind, settings):
    """The set with the pool's labels of one kind."""

    def say(output):
        return predictions(pool, made.images, made.space, settings.pick, output)

    if kind == "hard":
        return replace(made, labels=say(lambda x: x).argmax(1), targets=None, info={**made.info, "labels": "hard"})
    if kind == "logits":
        return replace(made, targets=say(lambda x: x), info={**made.info, "labels": "logits"})
    targets = say(lambda x: (x / settings.temperature).softmax(1))
    return replace(made, targets=targets, info={**made.info, "labels": "soft"})


def _about(pool, made, settings):
    """Who labelled, how good it is on the test set, and how often it agrees with the class an image was made for."""
    members = pool.members if settings.pick == "mean" else pool.members[:1]
    said = predictions(pool, made.images, made.space, settings.pick, lambda x: x).argmax(1)
    meant = DistilledSet.load(f"data/distilled/{FILE}", made.images.device).labels
    return {
        "pool": pool.info["pool"],
        "networks": sorted({member.word for member in members}),
        "accuracy": round(sum(member.accuracy for member in members) / len(members), 2),
        "agreement": round(100 * float((said == meant).float().mean()), 2),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    sys.exit(guarded(run))
