"""Notes on what lies outside params.yaml: files that it names, and whether DVC can run experiments in copies of the folder.

None is a refusal: with results that DVC finds in a cache, a run may need neither the files nor a copy.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

from distillation.checks.sections import mapping
from distillation.datasets.settings import NONE
from distillation.params import Params
from distillation.runtime import dvc_private, process
from distillation.teachers.settings import section_of

CODE = ("distillation", "stages")


def copy_notes() -> Iterator[str]:
    """Yields sentences about the copies of the repository in which DVC runs queued and temporary experiments.

    In such a copy: which code it lacks. In the repository itself: why DVC could not make a copy.
    """
    root, here = process.root().resolve(), Path.cwd()
    if root != here:
        yield from _untracked_code(root)
    # only for such a path, since ``not_copied`` opens DVC's repository; the command doctor calls it in any case
    elif not str(here).isascii() and Path(".dvc").is_dir():
        yield from not_copied()


def file_notes(params: Params) -> Iterator[str]:
    """Yields a sentence for each missing file that ``params``, which passed ``check_all``, names."""
    for path, file in _files(params):
        if not Path(file).exists():
            yield f"{path} is {file}, which {_whereabouts(process.root().resolve(), Path(file))}."


def not_copied() -> Iterator[str]:
    """Yields a sentence for each reason why DVC cannot run experiments in copies of this repository.

    DVC copies the configuration as ASCII, and fails at any other character in it.
    """
    for what, text in dvc_private.copied_texts().items():
        if not text.isascii():
            cure = "write it in ASCII"
            if what == dvc_private.CACHE:
                cure = "`dvc config --local cache.dir /ascii/path` moves it, see docs/dvc-and-git.md"
            yield f"no experiment starts by --temp or in the queue: {what} is not all ASCII, and DVC copies no other: {cure}."


def _untracked_code(root: Path) -> Iterator[str]:
    """Yields a sentence if ``root``, of which this folder is a copy, has code that Git does not track."""
    command = ["git", "-C", str(root), "ls-files", "--others", "--exclude-standard", "-z", "--", *CODE]
    listed = subprocess.run(command, capture_output=True, check=False).stdout.decode(errors="replace").split("\0")
    if names := [name for name in listed if name]:
        yield (
            f"this copy of the repository lacks {', '.join(names)}, which Git does not track: if the experiment needs that, "
            f"`git add -N {' '.join(names)}` and start it again."
        )


def _whereabouts(root: Path, file: Path) -> str:
    """A clause about a missing file: only this copy of ``root`` lacks it, or it is nowhere."""
    if root != Path.cwd() and (root / file).exists():
        return f"this copy of the repository lacks, as neither Git nor DVC tracks it: give the path {root / file}"
    return "does not exist; a relative path starts at the repository's root"


def _files(params: Params) -> Iterator[tuple[str, str]]:
    """Yields (dotted path, value) of the parameters in use that name a file or folder of the user."""
    groups = [f"{group}.{name}" for group in ("sources", "targets") for name in mapping(params, group)]
    for path in ["dataset", *groups]:
        if params.value(f"{path}.name") == "imagefolder":
            yield f"{path}.archive", params.value(f"{path}.archive")
    if params.value("method.name") == "imported":
        yield "method.imported.file", params.value("method.imported.file")
    for pool in mapping(params, "teacher"):
        is_imported = params.value(f"teacher.{pool}.objective") == "imported"
        if is_imported and (file := section_of(params, pool, "imported")["file"]) != NONE:
            yield f"teacher.{pool}.imported.file", file
