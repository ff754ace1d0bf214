"""Pools of teachers: sections of params.yaml and small pools on disk, untrained or trained for a moment."""

from collections.abc import Collection, Sequence
from pathlib import Path

import pytest
import torch

from distillation import params
from distillation.data.spaces import Space
from distillation.networks.build import build
from distillation.runtime import tensors
from distillation.runtime.random import generator
from distillation.runtime.work import Task, locked_tasks
from distillation.teachers import objective, writing
from distillation.teachers.objectives import trajectory
from distillation.teachers.pool import FILE, Pool
from distillation.teachers.settings import PoolSettings, pool_settings
from tests.helpers.clones import ROOT
from tests.helpers.data import SIZE, noise_set


def settings_of(section: dict, name: str = "main") -> PoolSettings:
    """The settings of the pool ``name`` with this section, over the product's ``pool`` and ``objectives``."""
    values = params.load(ROOT / "params.yaml").values
    return pool_settings(params.Params({**values, "teacher": {name: section}}), name)


def pool_in(
    folder: Path,
    words: Sequence[str] = ("ConvNetW8D2",),
    space: Space | None = None,
    classes: Sequence[str] = ("a", "b", "c"),
    size: int = SIZE,
    channels: int = 3,
    kept: Sequence[str | int] = ("last",),
) -> Pool:
    """A pool of untrained networks, at each kept epoch with other weights; `noise_set`'s space if none is given."""
    space = space or noise_set().space
    networks, weights = [], dict(space.packed())
    for word in words:
        for at in kept:
            network = build(word, channels, size, len(classes), generator(1, "teacher", word, at))
            weights |= {f"{word}/0/{at}/{k}": v for k, v in network.state_dict().items()}
        entries = [{"name": str(at), "epoch": 9, "accuracy": 50.0} for at in kept]
        networks.append({"network": word, "index": 0, "kept": entries})
    shape = [channels, size, len(classes)]
    info = {"pool": "main", "space": space.kind, "classes": list(classes), "shape": shape, "networks": networks}
    tensors.save(folder / FILE, weights, info)
    return Pool(folder)


def seen_pool_in(folder: Path, word: str = "ConvNetW4D2BN", **more) -> Pool:
    """`pool_in` whose batch norms have seen something: statistics that differ by channel and layer."""
    pool_in(folder, (word,), **more)
    content, info = tensors.load(folder / FILE)
    for i, (name, value) in enumerate(sorted(content.items())):
        if name.endswith("running_mean"):
            content[name] = torch.randn(value.shape, generator=generator(i, "mean"))
        if name.endswith("running_var"):
            content[name] = torch.rand(value.shape, generator=generator(i, "var")) + 0.5
    tensors.save(folder / FILE, content, info)
    return Pool(folder)


EXPERTS = {  # the section of a pool of two experts, trained for four epochs
    "source": "dataset",
    "objective": "trajectory",
    "networks": ["ConvNetW4D2"],
    "count": 2,
    "seed": 0,
    "keep": ["last"],
    "precision": "fp32",
    "compile": False,
    "trajectory": {
        "epochs": 4,
        "batch": 10,
        "lr": 0.05,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "milestones": [],
        "decay": 0.1,
        "augment": "dsa",
    },
}


class _Killed(Exception):
    pass


def experts_in(folder: Path, stops: Collection[int] = ()) -> Pool:
    """The pool `EXPERTS` on `noise_set`; its training is killed after each of its checkpoints numbered ``stops``."""
    data = noise_set()
    data.save(folder / "real")
    settings, written = settings_of(EXPERTS), []

    class Interrupted(Task):
        def due(self):
            return bool(stops)

        def checkpoint(self, state):
            super().checkpoint(state)
            written.append(state)
            if len(written) in stops:
                raise _Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(folder))
        tasks = [Interrupted.of(f"teacher main {index}", {"stops": list(stops), "index": index}) for index in (0, 1)]
        with locked_tasks(tasks):
            for index, task in enumerate(tasks):
                work = objective.Job(data=folder / "real", settings=settings, network="ConvNetW4D2", index=index)
                while not task.finished():
                    try:
                        trajectory.make(work, task, "cpu")
                    except _Killed:
                        torch.rand(3)  # whatever others draw does not matter
            (folder / "pool").mkdir()
            writing.write(folder / "pool", "main", settings, data, tasks)
    return Pool(folder / "pool")
