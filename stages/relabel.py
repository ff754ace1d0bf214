"""Give the distilled images their final labels.

Reads   params.yaml: relabel.kind, relabel.<kind>, relabel.teacher, relabel.control, compute.threads; data/distilled;
        data/real/dataset; models/teachers/<relabel.teacher>
Writes  data/relabeled: distilled.safetensors, info.json, metrics.json; control.safetensors where a teacher labels;
        teachers.safetensors (kind online) or distilled.labels.safetensors and control.labels.safetensors (fkd)
"""

import argparse
import sys
from dataclasses import dataclass, replace

import torch

from distillation import params as parameters
from distillation.data.distilled import FILE, DistilledSet
from distillation.data.real import RealSet
from distillation.labels import storing
from distillation.labels.lessons import Online, labels_of
from distillation.labels.predict import answering, features, picked, predictions
from distillation.labels.settings import KINDS, RelabelCommon
from distillation.params import Section
from distillation.runtime import cost, device, files, process, tensors
from distillation.runtime.errors import BadInput, guarded
from distillation.runtime.files import atomic_output
from distillation.runtime.inputs import stage_inputs
from distillation.runtime.random import generator
from distillation.runtime.work import locked_tasks
from distillation.teachers.pool import FILE as TEACHERS
from distillation.teachers.pool import Pool

DATA, OUT, CONTROL = "data/real/dataset", "data/relabeled", "control.safetensors"


@dataclass(frozen=True)
class Labelling:
    """How a pool labels: by ``kind`` and its settings; ``tasks`` by the set's name, where answers are stored."""

    pool: Pool
    kind: str
    settings: Section
    tasks: dict


def run():
    process.begin()
    params = parameters.load()
    common = params.fields("relabel", RelabelCommon)
    settings = params.section(f"relabel.{common.kind}", KINDS[common.kind])
    compute = params.section("compute", parameters.Compute)
    device.prepare(compute.threads)
    tasks = _tasks(common, settings, compute)
    every = [task for each in tasks.values() for task, _ in each]
    with locked_tasks(every), device.lease_device(compute.device) as where:
        made = DistilledSet.load(f"data/distilled/{FILE}", where)
        sets, beside, teacher = {FILE: made}, {}, None
        if common.kind != "keep":
            pool = Pool(f"models/teachers/{common.teacher}", where)
            if common.kind != "features" and pool.classes != made.info["classes"]:
                raise BadInput(
                    f"relabel.teacher is {common.teacher!r}, whose classes are not those of the distilled set."
                )
            if common.control:
                sets[CONTROL] = _control(made, where)
            teacher = _about(pool, made, common.kind, settings)
            how = Labelling(pool, common.kind, settings, tasks)
            for name, each in sets.items():
                each, more = _labelled(name, each, how)
                sets[name] = replace(each, info={**each.info, "teacher": teacher})
                beside |= more
        with atomic_output(OUT) as out:
            for name, each in sets.items():
                each.save(out / name)
            for name, (content, info) in beside.items():
                tensors.save(out / name, content, info)
            info = {"kind": common.kind, "labels": sets[FILE].kind, "teacher": teacher, "bytes": sets[FILE].bytes}
            info["settings"] = {**common.model_dump(), common.kind: settings.model_dump()}
            files.save_json(out / "info.json", info)
            agreement = teacher and teacher["agreement"]
            files.save_json(out / "metrics.json", {} if agreement is None else {"agreement": agreement})
        if every:
            cost.record("relabel", OUT, every)


def _tasks(common, settings, compute):
    """By the set's name, the tasks of storing its labels: long work, so that it resumes. None but for fkd."""
    if common.kind != "fkd":
        return {}
    inputs, made = stage_inputs("relabel"), device.made_on(compute.device)
    names = [FILE, CONTROL] if common.control else [FILE]
    return {name: storing.tasks(name, inputs, settings.epochs, made, compute.checkpoint) for name in names}


def _control(made, where):
    """As many random real images, of each class where the set has classes: what the same labels do without distillation."""
    data = RealSet.load(DATA, where)
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


def _labelled(name, made, how):
    """The set ``name`` with the pool's labels, and the files that go with it: (content, record) by name."""
    if how.kind in ("online", "fkd"):
        return _with_labels_beside(name, made, how)
    if how.kind == "features":
        targets = features(how.pool, made.images, made.space)
        return replace(made, targets=targets, info={**made.info, "labels": "features"}), {}

    def say(output):
        return predictions(how.pool, made.images, made.space, how.settings.pick, output)

    if how.kind == "hard":
        return replace(made, labels=say(lambda x: x).argmax(1), targets=None, info={**made.info, "labels": "hard"}), {}
    if how.kind == "logits":
        return replace(made, targets=say(lambda x: x), info={**made.info, "labels": "logits"}), {}
    targets = say(lambda x: (x / how.settings.temperature).softmax(1))
    return replace(made, targets=targets, info={**made.info, "labels": "soft"}), {}


def _with_labels_beside(name, made, how):
    """The same where the labels are a file of their own: the teachers themselves, or what they said of every batch."""
    settings = how.settings.model_dump()
    if how.kind == "online":
        file, content, record = TEACHERS, *how.pool.part(picked(how.pool, how.settings.pick))
    else:
        file, content, record = labels_of(name).name, _answers(name, made, how), settings
    size = sum(tensor.numel() * tensor.element_size() for tensor in content.values())
    info = {**made.info, "labels": how.kind, "labelling": settings, "label_bytes": size}
    return replace(made, targets=None, info=info), {file: (content, record)}


def _answers(name, made, how):
    """The pool's answers to all batches of the set ``name``, from its finished tasks or made now."""
    settings, flip = how.settings, RealSet.load(DATA).info["flip"]
    answer = answering(how.pool, made.space, settings.pick, settings.mode)
    lesson = Online(made.images, made.space, answer, settings, settings.batch, flip, made.info["seed"], "fkd")
    for task, epochs in how.tasks[name]:
        if not task.finished():
            storing.store(task, lesson, epochs)
    return storing.stored(how.tasks[name])


def _about(pool, made, kind, settings):
    """Who labels, how good it is on the test set, and how often it agrees with the class an image was made for.

    The latter two are None where the pool knows no classes, or the images were made for none.
    """
    members = picked(pool, "one" if kind == "features" else settings.pick)
    scores = [member.accuracy for member in members if member.accuracy is not None]
    agreement = None
    if kind != "features" and made.labels is not None:
        said = predictions(pool, made.images, made.space, settings.pick, lambda x: x).argmax(1)
        agreement = round(100 * float((said == made.labels).float().mean()), 2)
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
