"""Work that survives a kill: tasks with a lock, checkpoints, and finished results that the next run copies.

A task is one bounded result: a teacher, a distilled set, an evaluated student. Its folder lives under the repository's
own ``.dvc/tmp/work`` (never a temporary copy's), named by a hash of the inputs that change its bits, so that
``dvc repro``, ``dvc exp run --temp``, the queue and standalone stages share it.
"""

import contextlib
import fcntl
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from distillation.runtime import files, process, tensors
from distillation.runtime.errors import BadInput
from distillation.runtime.inputs import digest

_STATE, _DONE = "state.safetensors", "done"


def work_folder():
    return process.root().absolute() / ".dvc" / "tmp" / "work"


@dataclass
class Task:
    """One unit of work.

    ``label`` is for people, ``folder`` for its files; ``made`` is what its bits depend on beside its inputs (device and
    torch build), ``every`` the least seconds between checkpoints.
    """

    label: str
    folder: Path
    made: dict
    every: float
    _last: float = 0.0
    _cost: float = 0.0
    _spent: float = 0.0

    @classmethod
    def of(cls, label, inputs, identity, made, every=60.0):
        """The task that ``inputs`` (what changes its bits) and ``identity`` (which of the stage's tasks) name."""
        key = digest({"inputs": inputs, "identity": identity})
        return cls(label, work_folder() / f"{label.split()[0]}-{key}-{digest(made)[:6]}", made, every)

    def finished(self):
        """The folder with the finished result, or None."""
        done = self.folder / _DONE
        return done if done.is_dir() else None

    def start(self):
        """The last checkpoint's state, or None for a fresh start."""
        self._last = self._began = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        for partial in self.folder.glob("*.partial"):  # a killed run's; a folder is made anew by ``result``
            if partial.is_file():
                partial.unlink()
        found = self.folder / _STATE
        if not found.is_file():
            if len(list(self.folder.parent.glob(f"{self.folder.name[:-7]}-??????"))) > 1:
                _say(f"{self.label}: earlier work was made on another device or torch build, starting afresh.")
            return None
        try:
            content, info = tensors.load(found)
        except BadInput:
            _say(f"{self.label}: its checkpoint does not read, starting afresh.")
            return None
        self._spent = info["seconds"]
        _say(f"{self.label}: resumed after {self._spent:.0f} s of work.")
        return _unpack(info["state"], content)

    def due(self):
        """Whether it is time for a checkpoint: at most every max(``every``, 50 times what the last one took)."""
        return time.monotonic() - self._last >= max(self.every, 50 * self._cost)

    def checkpoint(self, state):
        """Write a nested dict or list of tensors and JSON values, atomically."""
        before = time.monotonic()
        content = {}
        info = {"state": _pack(state, content), "seconds": self.seconds()}
        tensors.save(self.folder / _STATE, content, info)
        self._last = time.monotonic()
        self._cost = self._last - before

    def seconds(self):
        """Seconds of work so far, those before an interruption included."""
        return self._spent + time.monotonic() - self._began

    @contextlib.contextmanager
    def result(self):
        """A folder to write the result into; it becomes the finished one when the block succeeds."""
        partial = self.folder / f"{_DONE}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
            files.save_json(partial / "cost.json", {**self.made, "seconds": round(self.seconds(), 1)})
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        partial.rename(self.folder / _DONE)
        (self.folder / _STATE).unlink(missing_ok=True)


@contextlib.contextmanager
def locked_tasks(tasks):
    """Hold the locks of all ``tasks`` (one run per key at a time) and yield those that are not finished yet.

    Locks are taken in one order everywhere, and before any GPU, so that two runs that share tasks cannot block each
    other; whoever waits finds the work done.
    """
    with contextlib.ExitStack() as stack:
        for task in sorted(tasks, key=lambda task: task.folder):
            stack.enter_context(_locked(task))
        yield [task for task in tasks if task.finished() is None]


@contextlib.contextmanager
def _locked(task):
    task.folder.parent.mkdir(parents=True, exist_ok=True)
    with open(task.folder.with_name(f"{task.folder.name}.lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"{task.label}: another run computes it, waiting.")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def discard(folder):
    """Remove a task's folder; a kill in between leaves nothing that could pass for a result."""
    trash = folder.with_name(f"{folder.name}.trash")
    shutil.rmtree(trash, ignore_errors=True)
    folder.rename(trash)
    shutil.rmtree(trash)


def _pack(value, content):
    """JSON with every tensor replaced by its name in ``content``."""
    if isinstance(value, torch.Tensor):
        name = str(len(content))
        content[name] = value
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[key, _pack(item, content)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return {"list": [_pack(item, content) for item in value]}
    return {"value": value}


def _unpack(value, content):
    ((kind, inner),) = value.items()
    if kind == "tensor":
        return content[inner]
    if kind == "dict":
        return {key: _unpack(item, content) for key, item in inner}
    if kind == "list":
        return [_unpack(item, content) for item in inner]
    return inner


def _say(sentence):
    print(sentence, file=sys.stderr, flush=True)
