"""The report on small faithful artefacts: its numbers, its bytes, and what it says when something is missing."""

import json
import re
import shutil

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits

from stages import report
from stages.containers.distilled import DistilledSet
from stages.containers.spaces import Space
from stages.reporting import figures, page, pictures, reading, tables
from stages.runtime.errors import BadInput

torch.set_num_threads(1)


def artefacts(
    root, classes=10, ipc=1, channels=1, networks=("ConvNet",), protocols=("standard",), control=True, curve=True
):
    """Everything that the stages before the report leave under ``root``."""
    names = [str(c) for c in range(10)] if classes == 10 else [f"class {c}" for c in range(classes)]
    rng = np.random.default_rng(0)
    images = _images(classes, ipc, channels)
    space = Space.normalised([0.3] * channels, [0.4] * channels)
    info = {"labels": "hard", "feed": "stored", "method": "dm", "ipc": ipc, "classes": names, "dataset": "digits"}
    made = DistilledSet(space.encode(images), torch.arange(classes).repeat_interleave(ipc), None, space, info)
    for folder in ("distilled", "relabeled"):
        made.save(root / "data" / folder / "distilled.safetensors")
    cost = {"updates": 1000, "images_forward": 2570000, "images_backward": 10000, "gflop": 1234.5}
    settings = {"method.name": "dm", "method.ipc": ipc, "method.dm.lr_img": 1.0, "method.augment": "auto"}
    _json(
        root / "data/distilled/info.json",
        {"method": "dm", "ipc": ipc, "dataset": "digits", "classes": names, "seed": 0, "alpha": 0.0}
        | {"settings": settings, "cost": cost, "bytes": made.bytes},
    )
    if curve:
        steps = np.arange(1, 1001)
        losses = 3 * np.exp(-steps / 200) + 0.4 + 0.05 * rng.standard_normal(1000)
        _csv(root / "data/distilled/curve.csv", {"iteration": steps, "loss": losses.round(6)})
    relabel = {"kind": "keep", "labels": "hard", "teacher": None, "bytes": made.bytes}
    _json(
        root / "data/relabeled/info.json", relabel | {"settings": {"relabel.kind": "keep", "relabel.control": control}}
    )
    for protocol in protocols:
        _protocol(root, protocol, networks, control, classes * ipc, rng)
    _csv(root / "reports/whole/rows.csv", _results([("whole", None)], networks, 2, {"whole": 98.9}, rng))
    _json(root / "reports/whole/info.json", {"settings": {"evaluate.seeds": 2}, "images": {"whole": 1437}})
    _teachers(root / "models/teachers/main", networks)
    (root / "params.yaml").write_text(
        "evaluate:\n  protocols:\n" + "".join(f"  - {p}\n" for p in protocols) + "teacher:\n  main:\n    count: 1\n"
    )
    return root


def _images(classes, ipc, channels):
    digits = load_digits()
    picked = [digits.images[digits.target == c % 10][c // 10 :][:ipc] / 16 for c in range(classes)]
    images = torch.tensor(np.concatenate(picked), dtype=torch.float32).unsqueeze(1)
    if channels == 1:
        return images
    big = images.repeat_interleave(4, 2).repeat_interleave(4, 3)
    tint = torch.tensor([0.9, 0.6, 0.3]).view(1, 3, 1, 1)
    return big * tint + 0.1


def _protocol(root, protocol, networks, control, images, rng):
    sets = [("distilled", None)] + [("control", None)] * control
    rows = _results(sets, networks, 3, {"distilled": 71.2, "control": 49.0}, rng)
    curves = [
        {"set": kind, "network": n, "seed": s, "epoch": e, "loss": round(2.3 * np.exp(-e / 60) + 0.01 * (s + 1), 6)}
        for kind, _ in sets
        for n in networks
        for s in range(3)
        for e in range(0, 300, 5)
    ]
    folder = root / "reports/evaluation" / protocol
    _csv(folder / "rows.csv", rows)
    _csv(folder / "curves.csv", curves)
    info = {"protocol": protocol, "labels": "hard", "checkpoint": "last", "cost": {"steps": 900, "gflop": 45.6}}
    _json(folder / "info.json", info | {"settings": {f"evaluate.{protocol}.hard.epochs": 300, "evaluate.seeds": 3}})
    sets = [("random", draw) for draw in range(10)] + [("kmeans", 0), ("mean", 0)]
    levels = {"random": 47.5, "kmeans": 66.0, "mean": 60.9}
    folder = root / "reports/baseline" / protocol
    _csv(folder / "rows.csv", _results(sets, networks, 3, levels, rng))
    counts = {"random": images, "kmeans": images, "mean": 10}
    _json(folder / "info.json", {"settings": {"evaluate.seeds": 3, "baseline.draws": 10}, "images": counts})


def _results(sets, networks, seeds, levels, rng):
    return [
        {"set": kind}
        | ({} if draw is None else {"draw": draw})
        | {"network": network, "seed": seed, "accuracy": round(levels[kind] - 3 * i + rng.normal(0, 0.8), 2)}
        | {"train_accuracy": 100.0, "loss": 0.01}
        for kind, draw in sets
        for i, network in enumerate(networks)
        for seed in range(seeds)
    ]


def _teachers(folder, networks):
    found = [
        {"network": n, "index": i, "parameters": 301000, "kept": [{"name": "last", "epoch": 30, "accuracy": 98.33 - i}]}
        for n in networks
        for i in range(2)
    ]
    info = {"pool": "main", "dataset": "digits", "objective": "supervised", "precision": "fp32", "networks": found}
    _json(
        folder / "pool.json", info | {"settings": {"teacher.main.epochs": 30, "teacher.main.networks": list(networks)}}
    )
    epochs = range(1, 31)
    _csv(
        folder / "curves.csv",
        [
            {
                "network": n,
                "index": i,
                "epoch": e,
                "loss": 2 * np.exp(-e / 5),
                "train_accuracy": 100 - 90 * np.exp(-e / 4),
            }
            for n in networks
            for i in range(2)
            for e in epochs
        ],
    )


def _csv(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path, index=False, lineterminator="\n")


def _json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
