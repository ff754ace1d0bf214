"""An expert: a teacher trained as the supervised ones are, all of whose epochs are kept for MTT to retrace.

Its parameters before the first epoch and after each one are stored as one vector an epoch beside its last weights (see
``Pool.parameters``): four bytes a parameter and epoch, each readable on its own. The published pools hold 100 experts of
50 epochs, by SGD at 0.01 without momentum, with siamese augmentation (Cazenavette et al., CVPR 2022).
"""

from torch.nn.utils import parameters_to_vector

from stages.console.progress import Progress
from stages.networks.build import build
from stages.runtime.errors import BadInput
from stages.runtime.generators import generator
from stages.teachers.job import Objective, dataset, finish
from stages.teachers.pool import epoch_name
from stages.training.loop import Training
from stages.training.losses import loss_of
from stages.training.settings import TrainSettings


def train(job):
    """Train the expert of ``job``, resuming where an earlier run stopped; it and its epochs go into the task."""
    data = dataset(job.data, job.device)
    settings, state = job.settings, job.task.start()
    network = build(job.word, *data.shape, generator(settings.seed, "teacher", job.word, job.index)).to(job.device)
    training = Training(
        network,
        lambda index: (data.encode(data.train.images[index]), data.train.labels[index]),
        len(data.train),
        loss_of("ce"),
        settings.training,
        settings.seed,
        f"teacher/{job.word}/{job.index}",
        data.info["flip"],
        settings.precision,
        settings.compile,
    )
    passed, curve = [_parameters(network)], []
    if state:
        training.load_state_dict(state["training"])
        passed, curve = state["passed"], state["curve"]

    with Progress(
        job.task.label, settings.training.epochs, start=training.epoch, unit="epoch", live=job.task.folder / "live.csv"
    ) as bar:
        while not training.done:
            if finished := training.advance():
                curve.append([training.epoch, *finished])
                passed.append(_parameters(network))
                bar.advance(loss=finished[0], accuracy=finished[1])
            if job.task.due():
                job.task.checkpoint({"training": training.state_dict(), "passed": passed, "curve": curve})
    kept = {"last": {"weights": dict(network.state_dict()), "epoch": training.epoch}}
    beside = {epoch_name(epoch): vector for epoch, vector in enumerate(passed)}
    finish(job, data, network, kept, curve, beside=beside)


def _parameters(network):
    return parameters_to_vector(network.parameters()).detach().cpu()


def _last_alone(pool, path):
    if pool.keep != ["last"]:
        raise BadInput(f"{path}.keep should be [last]: a pool of trajectories has every epoch beside it anyway.")


OBJECTIVE = Objective(TrainSettings, train, check=_last_alone)
