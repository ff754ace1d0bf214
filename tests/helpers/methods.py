"""Methods with settings that take moments: ``method_of("apm", pool, settings={"snapshots": 1})``."""

import json
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor

from distillation import methods
from distillation.data.real import RealSet
from distillation.methods.base import Common, Method, Problem
from distillation.methods.driver import updates
from distillation.methods.guidance import Guidance
from distillation.runtime.work import _pack, _unpack
from distillation.teachers.pool import Pool
from tests.helpers.data import IPC, noise_set

GUIDANCE = {
    "teacher": "main",
    "epoch": "any",
    "distance": "ce",
    "batch": 20,
    "adapt": False,
    "scale": "absolute",
}
COMMON = {
    "name": "dm",
    "ipc": IPC,
    "seed": 0,
    "network": "ConvNetW8D2",
    "init": "real",
    "augment": "auto",
    "alpha": 0.0,
    "teacher": "main",
    "guidance": GUIDANCE,
    "precision": "fp32",
    "compile": False,
    "chunk": 5,
}
NETWORKS = {"frepo": "ConvNetW6D2BN", "krr_st": "ConvNetW6D2BN", "mtt": "ConvNetW4D2"}  # where it is not COMMON's
MATCHING = {
    "iterations": 2,
    "outer": 2,
    "inner": 1,
    "lr_img": 0.1,
    "momentum": 0.5,
    "lr_net": 0.05,
    "batch_real": 7,
    "batch_train": 4,
    "distance": "per_output",
}
RECOVER = {
    "first": 0,
    "batch": 2,
    "iterations": 2,
    "lr": 0.3,
    "r_bn": 0.05,
    "first_bn": 10.0,
    "tv_l2": 0.0,
    "l2": 0.0,
    "crop": 0.3,
    "flip": True,
    "jitter": [-1, 2],
    "verify": False,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "dm": {"iterations": 6, "lr_img": 1.0, "momentum": 0.5, "batch_real": 7},
    "dc": MATCHING,
    "dsa": MATCHING,
    "apm": {
        "iterations": 4,
        "loss": "l1",
        "lr_img": 1.0,
        "momentum": 0.5,
        "milestones": [0.5],
        "decay": 0.3,
        "ce": 0.1,
        "batch_syn": None,
        "update_syn": None,
        "refresh": 2,
        "epochs": 3,
        "snapshots": 3,
        "batch_net": 4,
        "lr_net": 0.05,
        "momentum_net": 0.9,
        "weight_decay": 0.0005,
        "decay_net": 0.1,
        "shards": 1,
    },
    "scdd": RECOVER,
    "sre2l": RECOVER,
    "cda": {**RECOVER, "milestone": 1.0},
    "herding": {"features": "teacher"},
    "kcenter": {"features": "teacher"},
    "kmeans": {"features": "teacher"},
    "frepo": {
        "iterations": 8,
        "optimizer": "lamb",
        "lr": 0.01,
        "batch_real": 10,
        "ridge": 1e-6,
        "mirror": True,
        "pool": 2,
        "pool_steps": 4,
        "pool_lr": 0.01,
        "batch_syn": 4,
    },
    "kip": {"iterations": 6, "lr": 0.04, "batch_real": 7, "depth": 1, "ridge": 1e-6, "labels": "fixed"},
    "krr_st": {
        "images": 7,
        "iterations": 6,
        "lr": 0.01,
        "batch_real": 10,
        "crop_flip": True,
        "ridge": 1e-6,
        "pool": 2,
        "pool_steps": 4,
        "pool_reset": "published",
        "pool_lr": 0.1,
        "pool_momentum": 0.9,
        "pool_decay": 0.001,
    },
    "mtt": {
        "iterations": 5,
        "steps": 4,
        "expert_epochs": 2,
        "max_start": 3,
        "batch_syn": 4,
        "lr_img": 10.0,
        "momentum": 0.5,
        "lr_net": 0.02,
        "lr_lr": 1e-5,
        "gradient": "adjoint",
    },
}


def method_of(
    name: str,
    pool: Pool | None = None,
    data: RealSet | None = None,
    settings: dict | None = None,
    shard: int = 0,
    guides: Pool | None = None,
    device: torch.device | str = "cpu",
    **common: Any,
) -> Method:
    """The method on `noise_set` with its settings of `SETTINGS`, changed by ``settings``, and `COMMON`, by ``common``."""
    module = methods.load(name)
    network = NETWORKS.get(name, COMMON["network"])
    shared = Common(**{**COMMON, "name": name, "network": network, **common})
    problem = Problem((data or noise_set()).to(device), shared, torch.device(device), pool, shard, guides)
    return module.METHOD(problem, module.Settings(**{**SETTINGS.get(name, {}), **(settings or {})}))


def run(method: Method, stops: Collection[int] = (), again: Callable[[], Method] | None = None) -> Method:
    """The finished method; before each unit in ``stops`` it is saved, made anew by ``again`` and loaded."""
    units = updates(method)
    while method.at < method.total:
        if method.at in stops and again:
            content: dict[str, Tensor] = {}
            packed = json.loads(json.dumps(_pack(method.state_dict(), content)))
            state = _unpack(packed, {name: value.clone() for name, value in content.items()})
            torch.rand(3)  # whatever others draw does not matter
            method = again()
            method.load_state_dict(state)
            units = updates(method)
        next(units)
    return method


def to_image_gradient(method: Method) -> Method:
    """The method advanced until its images have a complete gradient."""
    while not method.advance().image_grad_ready:
        pass
    return method


def guided(pool: Pool, alpha: float = 1.0, chunk: int = 1000, **settings: Any) -> tuple[Method, Guidance]:
    """DM with its first gradient, and its guidance by a pool; ``settings`` change `GUIDANCE`."""
    method = method_of("dm", pool, alpha=alpha, chunk=chunk, guidance={**GUIDANCE, **settings})
    method.advance()
    return method, Guidance(method.problem, pool)


def added(method: Method, guide: Guidance, update: int = 0) -> tuple[Tensor, float]:
    """(gradient that guidance adds, its loss) at an update; the method's own gradient stays."""
    assert method.images is not None and method.images.grad is not None
    own = method.images.grad.clone()
    loss = float(guide.add_gradient(method, update))
    gradient = method.images.grad - own
    method.images.grad = own
    return gradient, loss
