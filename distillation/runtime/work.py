"""Work that survives a kill: tasks with a lock, checkpoints, and results that the next run reuses.

A task is one bounded result: a teacher, a distilled set, an evaluated student. Its folder lies under the repository's
own ``.dvc/tmp/work`` (never a temporary copy's), named by the key of all that the work reads, so that ``dvc repro``,
``dvc exp run --temp``, the queue and stages that run alone share it.
"""

import contextlib
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from distillation.runtime import files, process, tensors
from distillation.runtime.errors import BadInput
from distillation.runtime.keys import content_digest, digest, key_of
from distillation.runtime.locks import locked

INPUTS, LIVE = "inputs.json", "live.csv"
_STATE, _DONE, _DIGESTS = "state.safetensors", "done", "digests.json"
# house: a checkpoint costs at most one fiftieth of the time between two: 2 % of the work.
_SPARSE = 50


def work_folder() -> Path:
    """The folder of all tasks: inside DVC's own temporary folder or, without a DVC repository, beside params.yaml."""
    return process.scratch("work")


@dataclass
class Task:
    """One bounded piece of work and the folder of its files: inputs, checkpoint, result.

    Work calls ``start`` once, then after each of its steps ``checkpoint`` if one is ``due``, at last ``result``. A run
    that was killed is resumed by the next one with the same inputs.

    Attributes:
        label: its name in messages, like ``teacher main ConvNet 0``; the first word begins the folder's name.
        folder: the folder of its files; ``start`` creates it.
        inputs: all that its bits depend on (``keys.inputs_of``), written beside the work.
        every: minimum seconds between checkpoints (house: 60, little to lose and little to write).

    Examples:
        >>> step, images = task.start() or (0, images)
        >>> while step < total:
        ...     step, images = step + 1, advance(images)
        ...     if task.due():
        ...         task.checkpoint([step, images])
        >>> with task.result() as folder:
        ...     tensors.save(folder / "images.safetensors", {"images": images}, {})
    """

    label: str
    folder: Path
    inputs: dict
    every: float = 60.0
    _last: float = field(default=0.0, init=False)  # the clock at the end of the last checkpoint, or at ``start``
    _cost: float = field(default=0.0, init=False)  # seconds that the last checkpoint took
    _spent: float = field(default=0.0, init=False)  # seconds of work of earlier runs, up to the checkpoint
    _began: float = field(default=0.0, init=False)  # the clock at ``start``, or at ``share``
    _sharing: int = field(
        default=1, init=False
    )  # tasks that are computed at once, of which each has its part of the time

    @classmethod
    def of(cls, label: str, inputs: dict, every: float = 60.0) -> "Task":
        """Creates the task whose folder is named by a digest of ``inputs``; nothing is written yet.

        The folder's name is the label's first word, the key of the inputs without the environment (16 digits), and a
        digest of the environment (6 digits). The last is apart, so that ``start`` finds the same work of another device
        or build of torch and can say so.

        Args:
            label: its name in messages.
            inputs: what ``keys.inputs_of`` returns.
            every: minimum seconds between checkpoints.
        """
        environment = inputs.get("environment", {})
        key = key_of({name: value for name, value in inputs.items() if name != "environment"})
        folder = work_folder() / f"{label.split()[0]}-{key}-{digest(environment)[:6]}"
        return cls(label, folder, inputs, every)

    @property
    def key(self) -> str:
        """The digests in the folder's name, which stand for this task in the key of another task that reads its result.

        Without the label: how a piece of work is named in messages changes no key.
        """
        return "-".join(self.folder.name.rsplit("-", 2)[1:])

    @property
    def environment(self) -> dict:
        """The described Environment of the task; empty if it has none."""
        return self.inputs.get("environment", {})

    @property
    def done(self) -> Path:
        """The folder of the result, which exists once the task is finished."""
        return self.folder / _DONE

    def finished(self) -> Path | None:
        """The folder of the result; None while the task is not finished, or if the result is damaged.

        All files of the result are read for it, once a process.
        """
        return self.done if self.done.exists() and not self.damage() else None

    def damage(self) -> str | None:
        """The fault of the result in words, for a sentence; None if every file is there as it was written.

        Call it for a result that exists: a missing one counts as damaged.
        """
        try:
            digests = files.load_json(self.done / _DIGESTS)
        except BadInput:
            digests = None
        if not isinstance(digests, dict) or not digests:
            return f"{_DIGESTS} is missing or does not read"
        for name, written in digests.items():
            if not (self.done / name).is_file():
                return f"{name} is missing"
            if content_digest(self.done / name) != written:
                return f"{name} has changed"
        return None

    def start(self) -> Any:
        """Begins or resumes the work: starts its clock, writes its inputs and loads the last checkpoint.

        A checkpoint that is damaged or holds NaN is set aside with a sentence on stderr, and the work starts afresh.

        Returns:
            The state that ``checkpoint`` was given last, with tensors on the CPU and tuples as lists; None for a fresh
            start.
        """
        self._last = self._began = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        for partial in self.folder.glob("*.partial"):  # of a killed run; ``result`` replaces a folder
            if partial.is_file():
                partial.unlink()
        files.save_json(self.folder / INPUTS, {"label": self.label, **self.inputs})
        state = self.folder / _STATE
        if not state.exists():
            if len(list(self.folder.parent.glob(f"{self.folder.name[:-7]}-??????"))) > 1:
                _tell(f"{self.label}: earlier work was made on another device or torch build, starting afresh.")
            return None
        try:
            content, info = _sound(state)
        except BadInput as error:
            _tell(
                f"{self.label}: its checkpoint {error}; it is set aside as {files.set_aside(state)}, starting afresh."
            )
            return None
        self._spent = info["seconds"]
        _tell(f"{self.label}: resumed after {self._spent:.0f} s of work.")
        return _unpack(info["state"], content)

    def share(self, count: int) -> None:
        """Tells that from now on the task is computed at once with others, ``count`` in all: it gets a part of the time."""
        self._spent = self.seconds()
        self._last = self._began = time.monotonic()
        self._sharing = count

    def due(self) -> bool:
        """Whether it is time for a checkpoint; call it after ``start``.

        It is once ``every`` seconds have passed since the last checkpoint ended, or since ``start``, and also 50 times as long
        as that checkpoint took, and those of the tasks computed at once: checkpoints take at most about 2 % of the time.
        """
        return time.monotonic() - self._last >= max(self.every, _SPARSE * self._cost * self._sharing)

    def checkpoint(self, state: object) -> None:
        """Writes a checkpoint in place of the last one, atomically.

        Args:
            state: all that a resumed run needs to end with the same bits: nested dicts, lists and tuples of tensors, on
                any device, and JSON values.
        """
        before = time.monotonic()
        content = {}
        info = {"state": _pack(state, content), "seconds": self.seconds()}
        content = {name: value.detach().cpu() for name, value in content.items()}  # once, for digest and file
        tensors.save(self.folder / _STATE, content, {**info, "digest": tensors.digest(content, info)})
        self._last = time.monotonic()
        self._cost = self._last - before

    def forget(self) -> None:
        """Removes the checkpoint: the next run starts afresh."""
        (self.folder / _STATE).unlink(missing_ok=True)

    def seconds(self) -> float:
        """Wall-clock seconds of work so far, with those of earlier runs up to their last checkpoint.

        Of time that several tasks share, each counts its part.
        """
        return self._spent + (time.monotonic() - self._began) / self._sharing

    @contextlib.contextmanager
    def result(self) -> Iterator[Path]:
        """Yields an empty temporary folder for the result; it becomes ``done`` if the block succeeds.

        The files ``cost.json`` (seconds and environment) and ``digests.json`` (the SHA-256 of each file) are added, and
        the checkpoint is removed. If the block raises, the folder is removed, and the checkpoint stays.
        """
        partial = self.folder / f"{_DONE}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
            files.save_json(partial / "cost.json", {**self.environment, "seconds": round(self.seconds(), 1)})
            written = sorted(file for file in partial.rglob("*") if file.is_file())
            digests = {file.relative_to(partial).as_posix(): content_digest(file) for file in written}
            files.save_json(partial / _DIGESTS, digests)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        partial.rename(self.done)
        self.forget()


@contextlib.contextmanager
def locked_tasks(tasks: Iterable[Task]) -> Iterator[list[Task]]:
    """Locks all ``tasks`` while the block runs and yields those that are not finished yet.

    While another run holds a lock, it waits, after one line on stderr. A run that had to wait finds the work finished.
    A damaged result is set aside, with a sentence on stderr, and its task counts as not finished.
    """
    # Two runs that share tasks must not block each other for ever. So locks are taken in one order everywhere, that of
    # the folders' names, and always before a GPU is leased.
    tasks = list(tasks)
    with contextlib.ExitStack() as stack:
        for task in sorted({task.folder: task for task in tasks}.values(), key=lambda task: task.folder):
            path = task.folder.with_name(f"{task.folder.name}.lock")
            stack.enter_context(locked(path, f"{task.label}: another run computes it, waiting."))
            if task.done.exists() and (fault := task.damage()):
                place = files.set_aside(task.done)
                _tell(
                    f"{task.label}: its finished work is damaged ({fault}); it is set aside as {place}, and made again."
                )
        yield [task for task in tasks if task.finished() is None]


def inputs_in(folder: Path) -> dict:
    """Reads what a task was made of, for ``explain``.

    Args:
        folder: the folder of a task that was started.

    Returns:
        The entries of ``keys.inputs_of``, and ``label``.

    Raises:
        BadInput: they are damaged: they do not give the folder's name, which is made of their digest.
    """
    path = folder / INPUTS
    content = files.load_json(path)
    inputs = {name: value for name, value in content.items() if name != "label"} if isinstance(content, dict) else None
    if inputs is None or "label" not in content or not folder.name.endswith(Task.of(folder.name, inputs).key):
        raise BadInput(f"{path} is damaged, as its inputs are not those of the work: remove {folder}.")
    return content


def discard(folder: Path) -> None:
    """Removes a task's folder, for ``clean``.

    It is renamed first, so that a kill in the middle leaves no folder with a part of a result under the task's name.
    """
    trash = folder.with_name(f"{folder.name}.trash")
    shutil.rmtree(trash, ignore_errors=True)
    folder.rename(trash)
    shutil.rmtree(trash)


def _sound(path: Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Loads a checkpoint.

    Raises:
        BadInput: it does not read, is not what was written, or holds NaN, from which no work recovers; the message goes on
            after "its checkpoint".
    """
    try:
        content, info = tensors.load(path)
    except BadInput as error:
        raise BadInput("does not read") from error
    written = info.pop("digest", None)
    if written != tensors.digest(content, info):
        raise BadInput("is not as it was written")
    if any(value.is_floating_point() and bool(value.isnan().any()) for value in content.values()):
        raise BadInput("holds NaN")
    return content, info


def _pack(value: object, content: dict[str, torch.Tensor]) -> dict:
    """Converts a state to JSON, with every tensor moved into ``content`` and replaced by its name there.

    Dicts become lists of pairs: the keys of an optimiser's state are integers, which JSON would turn into text.
    """
    if isinstance(value, torch.Tensor):
        name = str(len(content))
        content[name] = value
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[key, _pack(item, content)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return {"list": [_pack(item, content) for item in value]}
    return {"value": value}


def _unpack(value: dict, content: dict[str, torch.Tensor]) -> object:
    """Restores what ``_pack`` converted; tuples come back as lists."""
    ((kind, inner),) = value.items()
    if kind == "tensor":
        return content[inner]
    if kind == "dict":
        return {key: _unpack(item, content) for key, item in inner}
    if kind == "list":
        return [_unpack(item, content) for item in inner]
    return inner


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
