"""The objective ``imported``: a teacher trained elsewhere.

It is a model of torchvision, timm or OpenCLIP, or a network of this project with weights from a file.

Its weights are copied into the pool, so that later stages need neither a network connection nor the file.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from pydantic import Field
from torch import Tensor

from distillation.augment.adapt import adapt
from distillation.data.real import RealSet, loaded
from distillation.data.spaces import Space
from distillation.networks.build import Network, build
from distillation.params import Section
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator
from distillation.runtime.work import Task
from distillation.teachers import foreign
from distillation.teachers.foreign.layouts import renamed
from distillation.teachers.foreign.weights import fit, read, sha256
from distillation.teachers.objective import Job, Objective, Shape, finish

if TYPE_CHECKING:
    from distillation.teachers.settings import PoolSettings

NONE = "data/none"  # the value of ``file`` while no file is used


class Settings(Section):
    """The origin of the one network in ``networks``.

    Attributes:
        origin: ``from`` in params.yaml. The name of a library, if ``networks`` holds the library's name of a model;
            ``file``, if it holds a network name of this project.
        weights: the library's name of published weights, such as ``IMAGENET1K_V1``; None: they are in ``file``. It is
            ignored if ``origin`` is ``file``.
        file: path of a state dict, .safetensors or what torch.save wrote, with the tensor names of the library or of
            this project; that of a ResNet of this project may also have a layout of ``foreign.layouts``. ``data/none``:
            no file.
        sha256: 64 hexadecimal digits of the file of the weights. A user's own file needs it, so that a change of it is
            noticed; for published weights None accepts any.
        classes: ``source`` if the logits are the classes of the pool's source, in its order; ``none`` if only the
            features are to be used.
    """

    origin: Literal["torchvision", "timm", "openclip", "file"] = Field(alias="from")
    weights: str | None
    file: str
    sha256: str | None
    classes: Literal["none", "source"]

    @property
    def library(self) -> str | None:
        """The library's name; None for a user's own file."""
        return None if self.origin == "file" else self.origin

    @property
    def tag(self) -> str | None:
        """The name of the published weights; None if they are in ``file``."""
        return self.weights if self.library else None


@dataclass(frozen=True)
class Sized(Space):
    """The Space of a library's model, which takes RGB images of one size: ``encode`` adapts raw images to it first.

    Attributes:
        size: pixels of a side of the model's inputs.
    """

    size: int = 0

    def encode(self, raw: Tensor) -> Tensor:
        """Maps raw images (N, C, H, W) of any channels and size to (N, 3, size, size) in this space."""
        return super().encode(adapt(raw, 3, self.size))


def _settings(pool: "PoolSettings") -> Settings:
    """Returns the section of this objective in the settings of a pool."""
    return cast("Settings", pool.training)


def make(job: Job, task: Task, device: str) -> None:
    """Loads the network of ``job`` and writes it as the result of its task; downloads published weights if need be.

    Raises:
        BadInput: the weights are missing, are not those of ``sha256``, or do not fit the network or the classes.
    """
    data, settings = loaded(job.data, device), _settings(job.settings)
    task.start()
    if settings.library:
        data = _as_expected(data, job, settings.library, device)
    library, tag = settings.library, settings.tag
    path = foreign.file(library, job.network, tag) if library and tag else settings.file
    # The digest is recorded even where none is required.
    if settings.sha256 not in (None, digest := sha256(path)):
        raise BadInput(f"imported.sha256 is {settings.sha256}, but that of {path} is {digest}.")
    network = _network(job, data, path).to(device)
    # Its one checkpoint is ``last``, as ``check`` requires; epoch 0, since nothing is trained here.
    kept = {"last": {"weights": network.state_dict(), "epoch": 0}}
    origin = {"weights": settings.tag, "file": str(path).rpartition("/")[2], "sha256": digest}
    classifies = settings.classes == "source"
    finish(job, task, data, network, kept, [], classifies, library=settings.library, origin=origin)


def _as_expected(data: RealSet, job: Job, library: str, device: str) -> RealSet:
    """Returns the RealSet with the space and shape of a library's inputs; ``encode`` then adapts its images."""
    size, mean, std = foreign.expects(library, job.network, _settings(job.settings).tag)
    space = Sized("normalised", Space.normalised(mean, std).to(device).tensors, size)
    return replace(data, space=space, info={**data.info, "channels": 3, "size": size})


def _network(job: Job, data: RealSet, path: str | Path) -> Network | foreign.Foreign:
    """Returns the network with the weights in ``path``; it keeps its classifier only with ``classes`` ``source``.

    Raises:
        BadInput: the weights do not fit, or the classifier has another number of classes than ``data``.
    """
    settings, size = _settings(job.settings), data.shape[1]
    classes = len(data.classes) if settings.classes == "source" else None
    if settings.library and settings.tag:
        network = foreign.pretrained(settings.library, job.network, settings.tag, path, size)
    elif settings.library:
        network = foreign.from_file(settings.library, job.network, path, size, classes)
    else:
        network = build(job.network, *data.shape, generator(0, "replaced"))  # any seed: the weights are replaced
        _, state = renamed(read(path))
        fit(network, state, path, ("classifier.",) if classes is None else ())
    if classes is None:
        return foreign.headless(network)
    if getattr(network.classifier, "out_features", None) != classes:
        raise BadInput(
            f"{job.network} does not tell the {classes} classes of {data.info['name']} apart: set imported.classes to none, "
            "and its features alone are used."
        )
    return network


def check(pool: "PoolSettings", path: str) -> None:
    """Checks that a pool names exactly one network and one origin of its weights.

    Args:
        pool: the settings of the pool.
        path: their path in params.yaml, such as ``teacher.main``.

    Raises:
        BadInput: it does not; the library is not installed, or lacks the model or the weights; or the checksum of a
            file is missing or wrong.
    """
    settings = _settings(pool)
    if pool.keep != ["last"] or pool.count != 1 or len(pool.networks) != 1:
        raise BadInput(f"{path} imports one network as it is: networks should name one, count be 1 and keep be [last].")
    if settings.library:
        foreign.check(settings.library, pool.networks[0], settings.weights)
        if (settings.weights is None) == (settings.file == NONE):
            raise BadInput(
                f"{path}.imported should name either the {settings.library} weights or a file; the other is empty or {NONE}."
            )
    if settings.tag is None:
        _check_file(settings, path)


def _check_file(settings: Settings, path: str) -> None:
    """Raises BadInput if the checksum of the file is missing or wrong; the file itself may be on another machine."""
    if settings.file == NONE:
        raise BadInput(f"{path}.imported.file should be the path of a .safetensors, .pt or .pth file.")
    # The required digest is part of the message, so that it can be copied into params.yaml.
    digest = sha256(settings.file) if Path(settings.file).is_file() else None
    if settings.sha256 is None or digest not in (None, settings.sha256):
        that = f", {digest}" if digest else ""
        raise BadInput(f"{path}.imported.sha256 is {settings.sha256}, but should be that of {settings.file}{that}.")


def _shape(pool: "PoolSettings", source: Shape) -> Shape:
    settings = _settings(pool)
    if not settings.library:
        return source
    return 3, foreign.expects(settings.library, pool.networks[0], settings.tag)[0]


OBJECTIVE = Objective(
    Settings,
    make,
    check=check,
    classifies=lambda pool: _settings(pool).classes == "source",
    words=lambda pool: [] if _settings(pool).library else pool.networks,
    shape=_shape,
)
