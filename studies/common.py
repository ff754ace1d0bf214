"""Shared parts of studies: params.yaml with overrides, a method in one process, and one student of a set."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from distillation import methods, params
from distillation.data.distilled import DistilledSet
from distillation.data.real import RealSet
from distillation.methods.base import Common, Method, Problem
from distillation.networks.build import build
from distillation.params import Params
from distillation.runtime.random import generator
from distillation.teachers.pool import Pool
from distillation.training.accuracy import accuracy
from distillation.training.loop import Training
from distillation.training.losses import loss_of

if TYPE_CHECKING:
    from distillation.training.settings import LabelSettings


def settings_with(overrides: list[str]) -> Params:
    """The Params of params.yaml, changed by each KEY=VALUE of ``overrides``."""
    settings = params.load()
    for override in overrides:
        path, _, value = override.partition("=")
        *above, last = path.split(".")
        settings.value(".".join(above))[last] = params.parse(value)
    return settings


def common_with(settings: Params, **changed: Any) -> Common:
    """The Common settings of the section ``method``, with the values ``changed``."""
    values = {**settings.value("method"), **changed}
    return Common(**{name: values[name] for name in Common.model_fields})


def method_of(settings: Params, common: Common, data: RealSet, pool: Pool) -> Method:
    """The method that ``common`` names, on the CPU."""
    module = methods.load(common.name)
    problem = Problem(data, common, torch.device("cpu"), pool)
    return module.METHOD(problem, settings.section(f"method.{common.name}", module.Settings))


def student_accuracy(
    settings: Params, protocol: "LabelSettings", distilled: DistilledSet, targets: Tensor, data: RealSet, seed: int
) -> float:
    """Test accuracy (percent) of one student; all sets have the same initial weights for a seed.

    Args:
        settings: names the network.
        protocol: settings of the training, with its loss.
        distilled: the set.
        targets: labels (N,) or label vectors (N, K) of its images.
        data: the real data to test on.
        seed: of the initial weights and the training.
    """
    word = settings.value("evaluate.networks")[0]
    network = build(word, *data.shape, generator(seed, "student", word))
    training = Training(
        network,
        lambda index: (distilled.images[index], targets[index]),
        len(distilled.images),
        loss_of(protocol.loss),
        protocol,
        seed,
        f"student/{word}",
        data.info["flip"],
    )
    while not training.done:
        training.advance()
    return accuracy(network, data, data.test)
