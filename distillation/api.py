"""What a notebook needs: load a dataset, make a pool of teachers, distil, evaluate, look.

It is built of the parts that the stages are built of, and takes the parameters that they take: those of the repository's
params.yaml, with other values by dotted path. It needs no repository; nothing is written but into folders that it is given.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure

from distillation import methods
from distillation.checks import check_all
from distillation.data.distilled import DistilledSet
from distillation.data.real import RealSet
from distillation.datasets.load import read
from distillation.datasets.settings import DatasetSettings
from distillation.evaluation import cells, classify
from distillation.evaluation.sets import FromFile
from distillation.evaluation.settings import EvaluateCommon, HardSettings, training_settings
from distillation.methods.base import Common, Problem
from distillation.methods.driver import updates
from distillation.methods.guidance import Guidance
from distillation.methods.work import rates
from distillation.params import Compute, Params, load
from distillation.recipes.results import nested
from distillation.report.pictures import canvas, first_images
from distillation.runtime import device
from distillation.runtime.errors import BadInput
from distillation.runtime.fingerprint import ROOT
from distillation.runtime.keys import inputs_of
from distillation.runtime.work import Task
from distillation.teachers import objectives, writing
from distillation.teachers.objective import Job
from distillation.teachers.pool import Pool
from distillation.teachers.settings import pool_settings

__all__ = ["DistilledSet", "Pool", "RealSet", "distill", "evaluate", "load_dataset", "load_params", "make_pool", "plot"]


def load_params(changes: Mapping[str, Any] | None = None, file: str | Path = ROOT / "params.yaml") -> Params:
    """Loads the parameters of ``file`` with other values by dotted path, like ``{"method.ipc": 10}``.

    Raises:
        BadInput: a key does not exist, or a value could not work.
    """
    changed = Params(nested(changes or {}, load(file).values))
    check_all(changed)
    device.prepare(changed.section("compute", Compute).threads)
    return changed


def load_dataset(params: Params, raw: str | Path = "data/raw") -> RealSet:
    """Reads the dataset of the section ``dataset``; what has to be downloaded is kept in ``raw``.

    Raises:
        BadInput: its files are missing or damaged.
    """
    return read(params.section("dataset", DatasetSettings), raw)


def make_pool(params: Params, data: RealSet, folder: str | Path, pool: str = "main") -> Pool:
    """Makes the pool ``teacher.<pool>`` on ``data`` and writes it into ``folder``, as the stage ``teacher`` does."""
    settings, folder = pool_settings(params, pool), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    objective, tasks = objectives.load(settings.objective), []
    with tempfile.TemporaryDirectory() as work:
        data.save(Path(work) / "data")
        for network in settings.networks:
            for index in range(settings.count):
                job = Job(data=Path(work) / "data", settings=settings.of_one(network), network=network, index=index)
                task = Task(f"teacher {pool} {network} {index}", Path(work) / f"{network}-{index}", {})
                objective.make(job, task, _device(params))
                tasks.append(task)
        writing.write(folder, pool, settings, data, tasks)
    return Pool(folder, _device(params))


def distill(params: Params, data: RealSet, pool: Pool | None = None, guides: Pool | None = None) -> DistilledSet:
    """Distils ``data`` by ``method.name``; a set that is made in shards is the stage's business.

    Args:
        params: the sections ``method`` and ``compute``.
        data: the real dataset.
        pool: what the method reads as ``method.teacher``, if it reads one.
        guides: what guides it, if ``method.alpha`` is above zero.

    Raises:
        BadInput: the method needs a pool that is not given, makes its set in several shards, or diverges.
    """
    common = params.fields("method", Common)
    module = methods.load(common.name)
    settings = params.section(f"method.{common.name}", module.Settings)
    if len(module.METHOD.shards(common, settings)) > 1:
        raise BadInput(f"{common.name} makes its set in several shards: run the stage distill, which joins them.")
    if pool is None and module.METHOD.reads_teachers(settings):
        raise BadInput(f"{common.name} reads a pool of teachers: make one by make_pool, and give it.")
    if guides is None and module.METHOD.reads_guides(common, settings):
        raise BadInput("method.alpha is above 0, or the method asks guides: make a pool by make_pool, and give it.")
    where = _device(params)
    problem = Problem(data.to(where), common, torch.device(where), pool, guides=guides)
    method = module.METHOD(problem, settings)
    for _ in updates(method, Guidance(problem, guides) if guides is not None and common.guided else None):
        pass
    distilled = method.result()
    if not distilled.images.isfinite().all():
        raise BadInput(f"{common.name} ends with images that are not finite: lower {rates(common, settings)}.")
    return distilled


def evaluate(params: Params, distilled: DistilledSet, data: RealSet, protocol: str = "standard") -> pd.DataFrame:
    """Trains ``evaluate.seeds`` students of each of ``evaluate.networks`` on a set and tests them on ``data``.

    Returns:
        A row a student: set, network, seed, accuracy and train_accuracy (percent, last epoch), loss.

    Raises:
        BadInput: the set has labels that the protocol cannot learn from, or that are a file beside the set.
    """
    common = params.fields("evaluate", EvaluateCommon)
    settings, kind = training_settings(params, protocol, distilled.kind)
    if isinstance(settings, HardSettings):
        settings = settings.of_set(distilled.info)
    if kind in ("online", "fkd"):
        raise BadInput(f"labels of kind {kind} are a file beside the set: run the stages relabel and evaluate.")
    training = classify.Protocol(
        kind=kind, settings=settings, precision=common.precision, compile=common.compile, test_every=common.test_every
    )
    with tempfile.TemporaryDirectory() as work:
        data.save(Path(work) / "data")
        distilled.save(Path(work) / "set")
        source = FromFile(Path(work) / "set")
        rows = [
            cells.Cell(set="distilled", source=source, network=network, seed=seed)
            for network in common.networks
            for seed in range(common.seeds)
        ]
        tasks = []
        for label, job in cells.jobs("evaluate", rows, training, Path(work) / "data", data.shape).items():
            tasks.append(Task(label, Path(work) / label, inputs_of(classify.train, job, {})))
            classify.train(job, tasks[-1], _device(params))
        cells.write(Path(work), rows, tasks, data.classes, {})
        return pd.read_csv(Path(work) / "rows.csv")


def plot(distilled: DistilledSet) -> Figure:
    """A figure of the distilled images, class by class; they are clamped to 0 to 1 only here."""
    pixels, _ = canvas(first_images(distilled))
    figure = Figure(figsize=(pixels.shape[1] / 100, pixels.shape[0] / 100))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(pixels)
    axes.axis("off")
    return figure


def _device(params: Params) -> str:
    """Without a lease: whoever opens a notebook has chosen the card."""
    choice = params.section("compute", Compute).device
    return ("cuda" if torch.cuda.is_available() else "cpu") if choice == "auto" else choice
