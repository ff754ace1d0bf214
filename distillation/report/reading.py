"""Inputs of the report: the records, tables and images that the other stages left.

Every table is checked as it is read: a missing column or an unknown set is one sentence with the file's name.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from distillation.data import distilled
from distillation.data.distilled import DistilledSet
from distillation.runtime import files
from distillation.runtime.errors import BadInput

ROW = ("set", "network", "seed", "accuracy", "train_accuracy", "loss")
ASSESSMENT = ("set", "assessment", "model", "value")
EVALUATED, BASELINES, WHOLE = ("distilled", "control"), ("random", "kmeans", "mean"), ("whole",)
CARRIED = ("set", "target", "protocol", "network", "seed", "accuracy", "loss")
PRETRAINED = ("scratch", "gaussian", "random", "kmeans", "control", "distilled")
ASSESSED = ("distilled", "control", "random")


@dataclass(frozen=True)
class Measured:
    """One folder of results.

    Attributes:
        rows: a line for each trained network: columns ``ROW`` (accuracies in percent) and, for baselines, ``draw``;
            ``best_test`` if students were tested as they trained. Of assessments, a line for each value: columns
            ``ASSESSMENT``.
        info: the folder's info.json.
        curves: columns set, network, seed, epoch, loss; None if the stage keeps none.
    """

    rows: pd.DataFrame
    info: dict[str, Any]
    curves: pd.DataFrame | None = None


@dataclass(frozen=True)
class Pool:
    """A pool of teachers.

    Attributes:
        info: pool.json.
        curves: of training: columns network, index, epoch, loss, train_accuracy.
        norms: statistics of batch norms: columns network, index, checkpoint, layer, channel, mean, variance; None if there
            are none.
    """

    info: dict[str, Any]
    curves: pd.DataFrame
    norms: pd.DataFrame | None = None


@dataclass(frozen=True)
class Artefacts:
    """Everything that the report shows.

    Attributes:
        images: the distilled set.
        distilled: its info.json.
        curve: columns iteration, loss and perhaps guidance; no rows for a method that selects.
        labels: the info.json of the labelled set.
        evaluation, baseline: protocol to Measured, in the order of params.yaml.
        whole: networks trained on the whole training set.
        pools: name to Pool, in the order of params.yaml.
        assessments: pool to Measured, in the order of params.yaml; empty if there are none.
        transfers: target to Measured, likewise, of networks pre-trained on the sets and transferred.
        kd: target to Measured, likewise, of pre-trained networks that learnt from a teacher of the target (kd).
    """

    images: DistilledSet
    distilled: dict[str, Any]
    curve: pd.DataFrame
    labels: dict[str, Any]
    evaluation: dict[str, Measured]
    baseline: dict[str, Measured]
    whole: Measured
    pools: dict[str, Pool]
    assessments: dict[str, Measured]
    transfers: dict[str, Measured]
    kd: dict[str, Measured]


def read(
    protocols: Iterable[str],
    pools: Iterable[str],
    root: str | Path = ".",
    assessed: Iterable[str] = (),
    targets: Iterable[str] = (),
    kd: Iterable[str] = (),
) -> Artefacts:
    """Reads the artefacts under ``root``, and nothing else.

    Args:
        protocols: names of protocols.
        pools: names of pools.
        root: folder of the repository.
        assessed: names of the pools under which sets were assessed.
        targets: names of the datasets to which networks were transferred.
        kd: names of the target datasets of knowledge distillation.

    Raises:
        BadInput: an artefact is missing or lacks a column.
    """
    root = Path(root)
    reports = root / "reports"
    return Artefacts(
        images=DistilledSet.load(root / "data/distilled" / distilled.FILE),
        distilled=files.load_json(root / "data/distilled/info.json"),
        curve=_curve(root / "data/distilled/curve.csv"),
        labels=files.load_json(root / "data/relabeled/info.json"),
        evaluation={name: _evaluated(reports / "evaluation" / name) for name in protocols},
        baseline={name: _measured(reports / "baseline" / name, BASELINES, (*ROW, "draw")) for name in protocols},
        whole=_measured(reports / "whole", WHOLE),
        pools={name: _pool(root / "models/teachers" / name) for name in pools},
        assessments={name: _measured(reports / "assessment" / name, ASSESSED, ASSESSMENT) for name in assessed},
        transfers={name: _carried(reports / "transfer", name) for name in targets},
        kd={name: _carried(reports / "kd", name) for name in kd},
    )


def _evaluated(folder: Path) -> Measured:
    """The results of the relabelled set under one protocol, with their training curves."""
    measured = _measured(folder, EVALUATED)
    return replace(measured, curves=_table(folder / "curves.csv", ("set", "network", "seed", "epoch", "loss")))


def _measured(folder: Path, sets: Sequence[str], columns: Sequence[str] = ROW) -> Measured:
    """Reads rows.csv and info.json of a folder.

    Args:
        folder: an out of a stage.
        sets: the sets that rows may be of.
        columns: the columns that rows must have.

    Raises:
        BadInput: a file is missing or damaged, has no rows, or has another set.
    """
    path = folder / "rows.csv"
    rows = _table(path, columns)
    unknown = set(rows["set"]) - set(sets)
    if rows.empty or unknown:
        fault = f"has the set {min(unknown)}, not one of {', '.join(sets)}" if unknown else "has no rows"
        raise BadInput(f"{path} {fault}: run the stage that writes it again.")
    return Measured(rows, files.load_json(folder / "info.json"))


def _carried(folder: Path, target: str) -> Measured:
    """The results of the relabelled set and of its baselines on a target, joined."""
    # the two stages have the same settings and target, so the record of one stands for both
    both = [_measured(folder / sets / target, PRETRAINED, CARRIED) for sets in ("distilled", "baseline")]
    return Measured(pd.concat([one.rows for one in both], ignore_index=True), both[0].info)


def _pool(folder: Path) -> Pool:
    """The record and tables of a pool; its weights are not read."""
    curves = _table(folder / "curves.csv", ("network", "index", "epoch", "loss", "train_accuracy"))
    norms = folder / "norms.csv"
    norms = _table(norms, ("network", "index", "checkpoint", "layer", "mean", "variance")) if norms.is_file() else None
    return Pool(files.load_json(folder / "pool.json"), curves, norms)


def _curve(path: Path) -> pd.DataFrame:
    """The curve of a method that optimises; a method that selects leaves no file or an empty one."""
    if not path.is_file() or not path.read_text(encoding="utf-8").strip():
        return pd.DataFrame({"iteration": [], "loss": []})
    return _table(path, ("iteration", "loss"))


def _table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Reads a CSV file; raises BadInput if it is no table or lacks one of ``columns``."""
    files.regular(path)
    try:
        # only these are missing numbers: other words that pandas takes for such, like NA, may be names
        table = pd.read_csv(path, keep_default_na=False, na_values=["", "nan", "NaN"])
    except ValueError as error:  # no text, or rows of another length
        raise BadInput(
            f"{path} is no table ({' '.join(str(error).split())}): run the stage that writes it again."
        ) from error
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise BadInput(f"{path} lacks the column {missing[0]}: run the stage that writes it again.")
    return table
