"""What a piece of work does, seen from outside: the code of ours that it loads and the files that it opens."""

import os
import sys
from collections.abc import Callable
from typing import Any


def watched(work: Callable[[Any, Any, str], None], job: Any, task: Any) -> dict[str, list[str]]:
    """Runs ``work`` on the CPU; returns the paths of ``read`` files and of loaded ``code``, relative to the repository.

    It has to be called in a process of its own: the hook stays, and modules that are loaded already tell nothing.
    """
    opened: set[str] = set()

    def watch(event: str, args: tuple) -> None:
        if event == "open" and isinstance(args[0], str):
            opened.add(os.path.realpath(args[0]))

    sys.addaudithook(watch)
    before = set(sys.modules)
    from distillation.runtime import device, tensors

    of_the_watcher = set(sys.modules) - before
    plain = tensors.opened  # safetensors opens files where no audit hook sees it

    def noted(path: Any, where: str = "cpu") -> Any:
        opened.add(os.path.realpath(path))
        return plain(path, where)

    tensors.opened = noted
    device.prepare(1)
    task.start()
    opened.clear()
    work(job, task, "cpu")
    here = os.path.realpath(".")
    ours = [file for name in set(sys.modules) - of_the_watcher if (file := _of_ours(name))]
    return {
        "read": sorted(os.path.relpath(path, here) for path in opened if path.startswith(here + os.sep)),
        "code": sorted(os.path.relpath(file, here) for file in ours),
    }


def _of_ours(name: str) -> str | None:
    return sys.modules[name].__file__ if name.split(".")[0] == "distillation" else None
