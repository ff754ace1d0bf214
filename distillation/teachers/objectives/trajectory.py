"""The objective ``trajectory``: an expert, a supervised teacher whose parameters after every epoch are kept for MTT.

Beside the last weights the file holds its trajectory: all parameters as one float32 vector, before the first epoch and
after each one. These take four bytes for each parameter and epoch. ``Pool.parameters`` reads any of them alone, so that
MTT does not load whole trajectories. The published pools hold 100 experts of 50 epochs, by SGD at 0.01 without
momentum, with siamese augmentation (Cazenavette et al., CVPR 2022).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from distillation.data.real import loaded
from distillation.runtime.errors import BadInput
from distillation.runtime.work import Task
from distillation.teachers.objective import Job, Objective, finish, run_of, together, training_of
from distillation.teachers.pool import epoch_name
from distillation.training.settings import TrainSettings
from distillation.training.together import Run

if TYPE_CHECKING:
    from distillation.teachers.settings import PoolSettings


def make(job: Job, task: Task, device: str) -> None:
    """Trains the expert of ``job``, resuming from the last checkpoint, and writes it with its trajectory."""
    TOGETHER.work([job], [task], device)


def prepare(job: Job, task: Task, device: str) -> tuple[Run, Callable[[], None]]:
    """Returns the Run of an expert at its start, and the function that writes its result."""
    data = loaded(job.data, device)
    training = training_of(job, data, data.train, device)
    network = training.network

    def keep(passed: dict[str, Tensor]) -> None:
        passed[str(training.epoch)] = _parameters(network)

    # the parameters by epoch, from the initial ones on
    run = run_of(job, task, training, {"0": _parameters(network)}, keep)

    def write() -> None:
        kept = {"last": {"weights": dict(network.state_dict()), "epoch": training.epoch}}
        beside = {epoch_name(int(epoch)): vector for epoch, vector in run.beside["kept"].items()}
        finish(job, task, data, network, kept, run.beside["curve"], beside=beside)

    return run, write


def _parameters(network: nn.Module) -> Tensor:
    """Returns a copy of all parameters as one vector (P,) on the CPU, so that a trajectory takes no device memory."""
    return torch.cat([parameter.detach().reshape(-1) for parameter in network.parameters()]).cpu()


def _last_alone(pool: "PoolSettings", path: str) -> None:
    """Checks that ``keep`` is [last].

    Raises:
        BadInput: it is not.
    """
    if pool.keep != ["last"]:
        raise BadInput(f"{path}.keep should be [last]: a pool of trajectories has every epoch beside it anyway.")


TOGETHER = together(prepare)
OBJECTIVE = Objective(TrainSettings, make, check=_last_alone, together=TOGETHER, many=True)
