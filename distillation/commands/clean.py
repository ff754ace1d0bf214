"""Lists the outs that params.yaml no longer names; removes them, or old work, on request. A command, no stage.

    python -m distillation clean
    python -m distillation clean --unnamed
    python -m distillation clean --days 30

Reads   params.yaml; the outs that DVC makes one by name: pools, protocols, targets and other datasets; DVC's cache;
        .dvc/tmp/work
Writes  nothing by itself. --unnamed removes the outs of which the cache holds every file (`dvc gc` removes them there
        too); with --even-the-last-copy it removes all that are listed. --days removes checkpoints and finished results of
        work. dvc.lock and the cache stay. The exit code is 2 if an out had to stay.
"""

import argparse
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from distillation import params as parameters
from distillation.console import format as words
from distillation.runtime import dvc_private, process
from distillation.runtime.dvc_hash import dvc_hash
from distillation.runtime.errors import BadInput, guarded
from distillation.runtime.locks import if_free
from distillation.runtime.work import discard, work_folder

NAMED_BY = {  # folder of outs to the parameter that names them, as in dvc.yaml
    "data/real/sources": "sources",
    "data/real/targets": "targets",
    "models/teachers": "teacher",
    "reports/evaluation": "evaluate.protocols",
    "reports/baseline": "evaluate.protocols",
    "reports/assessment": "evaluate.assess.teachers",
    "reports/transfer/distilled": "targets",
    "reports/transfer/baseline": "targets",
    "reports/kd/distilled": "evaluate.kd.teachers",
    "reports/kd/baseline": "evaluate.kd.teachers",
}


def run(days: float | None = None, remove: bool = False, last_copies: bool = False) -> None:
    """Lists the outs that params.yaml no longer names; removes them and old work on request.

    Args:
        days: task folders whose last file is older than so many days are removed; None: no work is removed.
        remove: whether unnamed outs are removed if DVC's cache holds every file of them.
        last_copies: whether those that it does not hold whole are removed, too; needs ``remove``.

    Raises:
        BadInput: an out had to stay, as the cache does not hold it whole; or ``last_copies`` comes without ``remove``.
    """
    process.begin()
    if last_copies and not remove:
        raise BadInput("--even-the-last-copy says which outs --unnamed removes: give both.")
    if days is not None:
        remove_work(days)
    # By the content on disk, not by dvc.lock: a stage that was run alone since may have written something else.
    outs = {out: dvc_private.cached(dvc_hash(out)) for out in unnamed(parameters.load())}
    if not outs:
        print("params.yaml names every out.")
    for out, is_cached in outs.items():
        removed = remove and (is_cached or last_copies)
        cache = "DVC's cache holds it" if is_cached else "DVC's cache does not hold it whole"
        print(f"{out}, {words.size(sum(_sizes(out)))}: {cache}{'; removed' * removed}")
        if removed:
            shutil.rmtree(out)
    staying = [str(out) for out, is_cached in outs.items() if not is_cached]
    if remove and staying and not last_copies:
        raise BadInput(
            f"{', '.join(staying)} stayed, as DVC's cache does not hold it whole: --even-the-last-copy beside --unnamed "
            "removes that too."
        )


def unnamed(params: parameters.Params) -> Iterator[Path]:
    """Yields folders in the place of outs that params.yaml does not name, except those that a stage is writing."""
    for folder, path in NAMED_BY.items():
        names = set(map(str, params.value(path)))
        for out in sorted(Path(folder).glob("*/")):
            if out.name not in names and out.suffix != ".partial" and not out.is_symlink():
                yield out


def _sizes(folder: Path) -> list[int]:
    """Bytes of every file below a folder."""
    return [file.stat().st_size for file in folder.rglob("*") if file.is_file()]


def remove_work(days: float) -> None:
    """Removes task folders that are older than ``days`` and that no run holds."""
    before, freed = time.time() - days * 86400, 0
    for trash in work_folder().glob("*.trash"):
        shutil.rmtree(trash, ignore_errors=True)  # another run may be removing it
    for folder in sorted(path for path in work_folder().glob("*") if path.is_dir()):
        # without waiting for a lock: a run that holds one is at work in the folder
        with if_free(folder.with_name(f"{folder.name}.lock")) as is_held:
            files = (file for file in folder.rglob("*") if file.is_file())
            if is_held and max((file.stat().st_mtime for file in files), default=0) < before:
                freed += sum(_sizes(folder))
                discard(folder)
    print(f"Freed {freed / 1e6:.1f} MB.")


def main() -> int:
    """Parses the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=float, help="remove work that is older; without it, no work is removed")
    parser.add_argument(
        "--unnamed", action="store_true", help="remove the listed outs of which DVC's cache holds every file"
    )
    parser.add_argument("--even-the-last-copy", action="store_true", help="with --unnamed: remove the others, too")
    args = parser.parse_args()
    return guarded(run, args.days, args.unnamed, args.even_the_last_copy)
