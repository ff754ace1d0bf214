"""Reading of a pool of teachers: one file with the weights of all members, and their record.

Methods, labels and evaluations get their teachers from a ``Pool``; ``writing`` wrote its file.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from distillation.augment.adapt import adapt
from distillation.data import valid
from distillation.data.spaces import PREFIX, Space
from distillation.networks.build import Network, build
from distillation.networks.names import embeds
from distillation.runtime import tensors
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator
from distillation.runtime.transfers import to_device
from distillation.teachers import foreign
from distillation.teachers.foreign.weights import fit

FILE, RECORD = "teachers.safetensors", "pool.json"


class Kept(valid.Record):
    """The schema of one kept checkpoint in the record of a pool's file; see ``Member`` for its fields."""

    name: str
    epoch: int = Field(ge=0)
    accuracy: float | None = Field(ge=0, le=100)


class Entry(valid.Record):
    """The schema of one network in the record of a pool's file; see ``Member`` for its fields."""

    network: str
    index: int = Field(ge=0)
    kept: list[Kept] = Field(min_length=1)
    library: str | None = None


class PoolRecord(valid.Record):
    """The schema of the record of a pool's file, as far as a Pool reads it; ``writing`` stores more.

    Attributes:
        pool: its name in params.yaml.
        classes: the names of the classes of the logits; None if the networks have features only.
        shape: (channels, pixels of a side, classes) of inputs and logits; 0 classes if they are None.
        networks: the networks, each with its kept checkpoints.
    """

    pool: str
    classes: list[str] | None
    shape: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=3, max_length=3)]
    networks: list[Entry] = Field(min_length=1)


def epoch_name(epoch: int) -> str:
    """Returns the name, after network and index, of the parameter vector of an epoch in a pool of trajectories."""
    return f"trajectory/{epoch}"


@dataclass(frozen=True)
class Member:
    """One set of weights of a pool; ``Pool.network`` loads it. A network kept at two epochs is two Members.

    Attributes:
        word: the network's name: a network name of this project, or the library's name of a model.
        index: its number among the networks of that name, from 0.
        kept: the entry of the pool's ``keep`` that it was kept for: ``last``, ``best``, ``best_test`` or a number.
        epoch: how many epochs the weights were trained; 0 if they were imported.
        accuracy: on the test set, in percent; None for a network without classes.
        library: the library that defines the network; None for one of this project.
    """

    word: str
    index: int
    kept: str
    epoch: int
    accuracy: float | None
    library: str | None = None


class Pool:
    """The teachers in the folder ``models/teachers/<pool>``.

    Creating a Pool reads the record and the space alone. The weights of a member are loaded when its network is first
    used, and stay loaded.

    Attributes:
        folder: the folder of the pool.
        device: the device of the networks.
        info: the record of the pool's file, JSON values by name (see ``PoolRecord``).
        space: the Space of the networks' inputs, on ``device``.
        shape: (channels, pixels of a side, classes) of the networks' inputs and logits; 0 classes with features only.
        classes: the names of the classes of the logits, in their order; None if the networks have features only.
        members: the Members, network by network.
        network: function of a Member that returns its network, on the pool's device, in eval mode and without gradients
            of its parameters. It is cached: all callers share one network, whose mode and weights they must leave
            alone.

    Args:
        folder: the folder of the pool.
        device: where the networks shall be.

    Raises:
        BadInput: the file is missing or damaged, or its parts do not suit each other.
    """

    def __init__(self, folder: str | Path, device: torch.device | str = "cpu") -> None:
        self.folder, self.device = Path(folder), device
        with tensors.opened(self.folder / FILE) as view:
            self.info, names = view.info, view.names
            valid.check_record(PoolRecord, self.info, self.folder / FILE)
            space = {name: view.get(name) for name in names if name.startswith(PREFIX)}
        self.space = Space.read(str(self.info.get("space")), space).to(device)
        self.classes = self.info["classes"]
        channels, size, classes = self.info["shape"]
        self.shape: tuple[int, int, int] = (channels, size, classes)
        self.members = [
            Member(
                entry["network"], entry["index"], kept["name"], kept["epoch"], kept["accuracy"], entry.get("library")
            )
            for entry in self.info["networks"]
            for kept in entry["kept"]
        ]
        self._check(names)
        # Caches of this object, not of the class: ``keeping`` copies share them, and they are freed with the pool.
        self.network = lru_cache(maxsize=None)(self._network)
        self._shares = lru_cache(maxsize=None)(self.space.same)  # compares on the CPU: once for each space

    def _check(self, names: Iterable[str]) -> None:
        """Raises BadInput unless record, space and the names of the weights suit each other."""
        path, (channels, size, classes) = self.folder / FILE, self.shape
        valid.check_space(self.space, (channels, size, size), path)
        if classes != len(self.classes or ()):
            raise BadInput(f"{path} is for {classes} classes, but names {len(self.classes or ())}.")
        # Names in a state dict contain no slash, so the last one ends ``<network>/<index>/<kept>``.
        stored = {name.rpartition("/")[0] for name in names}
        for member in self.members:
            if f"{member.word}/{member.index}/{member.kept}" not in stored:
                raise BadInput(f"{path} lacks the weights of {member.word} {member.index} kept at {member.kept}.")

    @property
    def words(self) -> list[str]:
        """The different network names of the members, in the order of their first members."""
        return list(dict.fromkeys(member.word for member in self.members))

    def keeping(self, epoch: int | str) -> "Pool":
        """Returns the pool restricted to the members that were kept at an epoch; this one does not change.

        Args:
            epoch: an entry of the pool's ``keep``, such as ``best`` or 50; ``any``: all members.

        Raises:
            BadInput: no member was kept at it.
        """
        # Shallow, so that both pools share the networks that are loaded.
        pool = copy.copy(self)
        pool.members = [member for member in self.members if str(epoch) in ("any", member.kept)]
        if not pool.members:
            kept = ", ".join(dict.fromkeys(member.kept for member in self.members))
            raise BadInput(f"the teachers of {self.info['pool']} were kept at {kept}, not at {epoch}.")
        return pool

    def fits(self, images: Tensor) -> bool:
        """Whether images (N, C, S, S) have the channels and the size of the networks' inputs."""
        return tuple(images.shape[1:3]) == self.shape[:2]

    def take(self, images: Tensor, space: Space, adapting: bool = False) -> Tensor:
        """Maps images to the networks' inputs; differentiable, so that losses on a teacher's logits reach the images.

        Args:
            images: (N, C, S, S) floating-point numbers of ``space``, on the pool's device.
            space: the Space of the images, such as that of a distilled set.
            adapting: whether images of other channels or another size are converted to grey or RGB and resized.

        Returns:
            (N, channels, size, size) in the pool's space; ``images`` itself if nothing changes.

        Raises:
            BadInput: the images have another shape than the networks' inputs, and ``adapting`` is False or cannot
                convert their channels.
        """
        if self.fits(images):
            return images if self._shares(space) else self.space.encode(space.decode(images))
        if not adapting:
            expected, shape = (f"{channels}×{size}×{size}" for channels, size in (self.shape[:2], images.shape[1:3]))
            raise BadInput(
                f"the teachers of {self.info['pool']} take {expected}, but the images are {shape}; for guidance, "
                "method.guidance.adapt true adapts the images."
            )
        # Colour and size are defined on raw pixels alone, so they change between the two spaces.
        return self.space.encode(adapt(space.decode(images), *self.shape[:2]))

    def draw(self, draws: torch.Generator) -> Member:
        """Draws a Member: first a network name, uniformly, then one of the members of that name, uniformly.

        All names are so equally likely, however many networks or checkpoints each of them has.

        Args:
            draws: a CPU generator.
        """
        words = self.words
        word = words[int(torch.randint(len(words), (1,), generator=draws))]
        among = [member for member in self.members if member.word == word]
        return among[int(torch.randint(len(among), (1,), generator=draws))]

    def parameters(self, member: Member, epoch: int) -> Tensor:
        """Reads the parameters of an expert at one epoch of its trajectory, for MTT.

        Args:
            member: a Member of a pool whose objective is ``trajectory``.
            epoch: number of epochs of training; 0: the initial weights.

        Returns:
            All parameters as one vector (P,) float32 on the pool's device, in the order of ``network.parameters()``.

        Raises:
            BadInput: the file has no such epoch, or a number is not finite.
        """
        with tensors.opened(self.folder / FILE) as view:
            name = f"{member.word}/{member.index}/{epoch_name(epoch)}"
            valid.check_names(view.names, [name], self.folder / FILE)
            vector = view.get(name)
        valid.check_finite(vector, name, self.folder / FILE)
        return to_device(vector, self.device)

    def part(self, members: Iterable[Member]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Returns the content of a pool's file that holds these members alone, to be stored beside a distilled set.

        Args:
            members: some of the pool's members.

        Returns:
            The tensors by name, on the CPU, those of the space included, and the record, as ``tensors.save`` takes
            them.
        """
        parts = {(member.word, member.index, member.kept) for member in members}
        networks = [
            {**entry, "kept": [k for k in entry["kept"] if (entry["network"], entry["index"], k["name"]) in parts]}
            for entry in self.info["networks"]
        ]
        starts = (PREFIX, *("/".join(map(str, each)) + "/" for each in parts))
        with tensors.opened(self.folder / FILE) as view:
            content = {name: view.get(name) for name in view.names if name.startswith(starts)}
        return content, {**self.info, "networks": [entry for entry in networks if entry["kept"]]}

    def has_features(self, member: Member) -> bool:
        """Whether a Member's network has features before its classifier (``embed``); see ``networks.names.embeds``."""
        return member.library is not None or embeds(member.word)

    def first(self, word: str) -> Network | foreign.Foreign:
        """Returns the network of the first member with the network name ``word``; it has to exist."""
        return self.network(next(member for member in self.members if member.word == word))

    def flops(self, word: str) -> int:
        """Counts the floating-point operations of one image's forward pass through the first network of a name.

        They are those of torch's FlopCounterMode: a multiplication and an addition are two operations, and what is
        neither convolution, matrix product nor attention counts nothing. Methods sum them up as their cost.
        """
        from torch.utils.flop_counter import FlopCounterMode  # slow to import: it loads Triton

        network = self.first(word)
        image = torch.zeros(1, self.shape[0], self.shape[1], self.shape[1], device=self.device)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network.embed(image) if self.classes is None else network(image)
        return counter.get_total_flops()

    def _network(self, member: Member) -> Network | foreign.Foreign:
        """Loads the frozen network of a Member in eval mode onto the pool's device."""
        channels, size, classes = self.shape
        if member.library:
            network = foreign.build(member.library, member.word, size, classes or None)
        else:
            # The initial weights are all replaced below, so any seed will do.
            network = build(member.word, channels, size, max(classes, 1), generator(0, "replaced"))
        if self.classes is None:
            network = foreign.headless(network)
        prefix = f"{member.word}/{member.index}/{member.kept}/"
        with tensors.opened(self.folder / FILE) as view:
            weights = {n.removeprefix(prefix): view.get(n) for n in view.names if n.startswith(prefix)}
        fit(network, weights, self.folder / FILE)
        return network.eval().requires_grad_(False).to(self.device)
