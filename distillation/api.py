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
from distillation.methods.work import finite_result, rates
from distillation.params import Compute, Params, load
from distillation.recipes.results import nested
from distillation.report.pictures import canvas, first_images
from distillation.runtime import device
from distillation.runtime.errors import BadInput
from distillation.runtime.fingerprint import ROOT
from distillation.runtime.keys import inputs_of
from distillation.runtime.stage import Together, Work, calls_of
from distillation.runtime.work import Task
from distillation.teachers import objectives, writing
from distillation.teachers.pool import Pool
from distillation.teachers.settings import pool_settings

__all__ = ["DistilledSet", "Pool", "RealSet", "distill", "evaluate", "load_dataset", "load_params", "make_pool", "plot"]


def load_params(changes: Mapping[str, Any] | None = None, file: str | Path = ROOT / "params.yaml") -> Params:
    """Loads all parameters, checks them, and configures torch for this process.

    The checks are those of the stage ``check``. After them torch uses ``compute.threads`` CPU threads and deterministic
    algorithms only, for the whole process: see ``device.prepare``.

    Args:
        changes: other values than the file's, by dotted path, like ``{"method.ipc": 10}``.
        file: a YAML file with every section of the repository's params.yaml, which is the default.

    Returns:
        The checked Params, which all functions below take.

    Raises:
        BadInput: the file is missing or no YAML, a key does not exist, or a value could not work.
    """
    changed = Params(nested(changes or {}, load(file).values))
    check_all(changed)
    device.prepare(changed.section("compute", Compute).threads)
    return changed


def load_dataset(params: Params, raw: str | Path = "data/raw") -> RealSet:
    """Reads the dataset of the section ``dataset``.

    Args:
        params: the section ``dataset``: name, size, normalisation.
        raw: folder of downloads; published files are searched in ``raw/NAME``, and downloaded into it if they are
            missing.

    Returns:
        The RealSet on the CPU: uint8 images of both splits, their labels, and the Space of the networks' inputs.

    Raises:
        BadInput: a file is missing or damaged and cannot be downloaded, or the images form no dataset.
    """
    return read(params.section("dataset", DatasetSettings), raw)


def make_pool(params: Params, data: RealSet, folder: str | Path, pool: str = "main") -> Pool:
    """Trains the teachers of the section ``teacher.<pool>`` on ``data`` and writes them, as the stage ``teacher`` does.

    It makes ``count`` teachers of each network name of the section, one after the other in this process. An interrupted
    call starts from the beginning: checkpoints lie in a temporary folder.

    Args:
        params: the sections ``teacher``, ``pool``, ``objectives`` and ``compute``.
        data: the real dataset.
        folder: where the pool's files go; it is created if needed, and an earlier pool in it is replaced.
        pool: the key of the section ``teacher``.

    Returns:
        The Pool, read from ``folder``; its networks go onto the device of ``compute.device``.

    Raises:
        BadInput: the section is missing or invalid, or a loss of a teacher is no longer finite (Diverged).
    """
    settings, folder = pool_settings(params, pool), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    objective, tasks = objectives.load(settings.objective), []
    with tempfile.TemporaryDirectory() as work:
        data.save(Path(work) / "data")  # an objective reads its data from a folder, as it does in a worker process
        compute = params.section("compute", Compute)
        jobs = objective.jobs(settings, Path(work) / "data", data, compute)
        for job in jobs:
            name = f"{job.network}-{job.index}"
            tasks.append(Task(f"teacher {pool} {job.network} {job.index}", Path(work) / name, {}))
        _complete(objective.make, objective.together, jobs, tasks, _device(params))
        writing.write(folder, pool, settings, data, tasks)
    return Pool(folder, _device(params))


def distill(params: Params, data: RealSet, pool: Pool | None = None, guides: Pool | None = None) -> DistilledSet:
    """Runs the method ``method.name`` on ``data`` to its end and returns the distilled images.

    Nothing is written, and an interrupted call starts from the beginning.

    Args:
        params: the sections ``method`` and ``compute``.
        data: the real dataset.
        pool: the teachers that the method itself uses, in place of the pool that ``method.teacher`` names; None for a
            method that uses none, such as DM.
        guides: the teachers whose loss guides the images, in place of the pool that ``method.guidance.teacher`` names.
            They are required if ``method.alpha`` is above zero.

    Returns:
        The DistilledSet, with ``method.ipc`` images of each class, in the space of ``data``.

    Raises:
        BadInput: the method needs a pool or guides that are not given; or it makes its set in several shards
            (independent parts of the set), which only the stage ``distill`` joins; or it diverges.
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
    return finite_result(method, rates(common, settings))


def evaluate(params: Params, distilled: DistilledSet, data: RealSet, protocol: str = "standard") -> pd.DataFrame:
    """Trains ``evaluate.seeds`` students of each of ``evaluate.networks`` on a set and tests them on ``data``.

    Args:
        params: the sections ``evaluate`` and ``compute``.
        distilled: the set that students are trained on.
        data: the real dataset; students are tested on its test split.
        protocol: ``standard``, the setting for the set's kind of labels, or ``common``, one setting on hard labels.

    Returns:
        One row for each student, with the columns set (``distilled``), network, seed, accuracy and train_accuracy
        (percent after the last epoch, on the test split and on the set's own images), and loss (of training); with
        ``evaluate.test_every`` also best_test (percent, optimistic). A student whose loss is no longer finite stops
        there and is tested as it is; its loss is then NaN or infinite.

    Raises:
        BadInput: the protocol cannot learn from the set's labels, which is so for features; or the labels are a
            file beside the set.
    """
    common = params.fields("evaluate", EvaluateCommon)
    settings, kind = training_settings(params, protocol, distilled.kind)
    if isinstance(settings, HardSettings):
        settings = settings.of_set(distilled.info)  # the learning rate that MTT learnt, where set_lr is true
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
        jobs = cells.jobs("evaluate", rows, training, Path(work) / "data", data, params.section("compute", Compute))
        tasks = [Task(label, Path(work) / label, inputs_of(classify.train, job, {})) for label, job in jobs.items()]
        _complete(classify.train, classify.TOGETHER, list(jobs.values()), tasks, _device(params))
        cells.write(Path(work), rows, tasks, data.classes, {})
        return pd.read_csv(Path(work) / "rows.csv")


def plot(distilled: DistilledSet) -> Figure:
    """Draws the distilled images in a matplotlib Figure: up to ten classes, and up to ten images of each.

    The images are converted to raw pixels and clamped to [0, 1] for display; ``distilled`` itself is not changed.
    """
    pixels, _ = canvas(first_images(distilled))
    figure = Figure(figsize=(pixels.shape[1] / 100, pixels.shape[0] / 100))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(pixels)
    axes.axis("off")
    return figure


def _complete(work: Work, together: Together | None, jobs: list, tasks: list[Task], device: str) -> None:
    """Computes the jobs, several at once where ``together`` allows it."""
    for call in calls_of(work, list(zip(jobs, tasks, strict=True)), together):
        call.work(call.job, call.task, device)


def _device(params: Params) -> str:
    """The device of ``compute.device``: ``auto`` is ``cuda`` if there is a GPU. It is not leased: the user chose it."""
    choice = params.section("compute", Compute).device
    return ("cuda" if torch.cuda.is_available() else "cpu") if choice == "auto" else choice
