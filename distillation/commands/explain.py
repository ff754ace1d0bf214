"""Shows which work made an out or one of its rows, what that work read, and how it differs from the nearest other work.

    python -m distillation explain reports/evaluation/standard
    python -m distillation explain reports/evaluation/standard --row 2

Reads   the out, reports/cost.json, and inputs.json of the work in .dvc/tmp/work
Writes  nothing
"""

import argparse
import contextlib
from pathlib import Path

from distillation.runtime import cost, process
from distillation.runtime.dvc_hash import dvc_hash
from distillation.runtime.errors import BadInput, guarded
from distillation.runtime.work import INPUTS, inputs_in, work_folder

ROWS = 8  # house: differences that are printed of one pair


def run(out: str, row: int | None) -> None:
    """Prints the tasks behind an out: folder, whether it was computed or reused, and the nearest other work.

    Args:
        out: path of an out of a stage, relative to the repository's root.
        row: index of one row of its rows.csv, whose inputs are printed in full; None for all rows.

    Raises:
        BadInput: the out is missing, was not computed on this machine, or has no such row.
    """
    process.begin()
    entry = _entry(Path(out))
    folders = [work_folder() / name for name in entry["work"]]
    print(f"{out}: stage {entry['stage']}, {len(folders)} pieces of work, {entry['seconds']:g} s in all")
    if row is not None and not 0 <= row < len(folders):
        raise BadInput(f"--row is {row}, but {out} has the pieces of work 0 to {len(folders) - 1}.")
    for index, folder in enumerate(folders):
        if row in (None, index):
            _show(index, folder, entry, whole=row is not None)


def _entry(out: Path) -> dict:
    """The record in ``reports/cost.json`` of the content that lies at ``out``.

    Raises:
        BadInput: the out is missing, or there is no such record.
    """
    if not out.exists():
        raise BadInput(f"{out} is not there: run `dvc repro`, or `dvc checkout {out}`.")
    entry = cost.read(cost.path()).get(dvc_hash(out))
    if entry is None or "work" not in entry:
        raise BadInput(
            f"{out} was not computed on this machine: DVC brought it from its cache or a remote, or its stage does no work "
            "that is kept."
        )
    return entry


def _show(index: int, folder: Path, entry: dict, whole: bool) -> None:
    reused = folder.name in entry.get("reused", [])
    print(f"\n[{index}] {folder}")
    if not (folder / INPUTS).is_file():
        print("    removed since, by `python -m distillation clean`")
        return
    inputs = inputs_in(folder)
    print(f"    {inputs['label']}: {'found finished, and copied' if reused else 'computed'} when the out was written")
    if whole:
        for name, value in sorted(_flat({key: inputs[key] for key in ("job", "environment")}).items()):
            print(f"    {name} = {value}")
        print(f"    code: {len(inputs['code'])} files, from {inputs['work']}")
    _compare(folder, inputs, entry["work"])


def _compare(folder: Path, inputs: dict, of_this_out: list[str]) -> None:
    """Prints how the nearest work of another out differs, which shows why that work could not be reused."""
    others = []
    for path in folder.parent.glob(f"{folder.name.partition('-')[0]}-*/{INPUTS}"):
        if path.parent.name not in of_this_out:
            with contextlib.suppress(BadInput):  # what is damaged is no work to compare with
                changed = _differences(inputs, inputs_in(path.parent))
                others.append((len(changed), path.parent, changed))
    if not others:
        print("    no work of another out of this kind is kept here")
        return
    # the fewest differences; of several, the latest
    _, nearest, changed = min(others, key=lambda other: (other[0], -other[1].stat().st_mtime))
    print(f"    nearest other work: {nearest.name}, which has")
    for name, (own, other) in list(changed.items())[:ROWS]:
        print(f"      {name} = {other} (here {own})")
    if len(changed) > ROWS:
        print(f"      and {len(changed) - ROWS} more differences")


def _differences(one: dict, other: dict) -> dict[str, tuple]:
    """The values of ``one`` and ``other`` that differ, by dotted name; labels and file names enter no key and are left out."""
    one, other = (_flat({key: value for key, value in each.items() if key != "label"}) for each in (one, other))
    names = sorted(name for name in one.keys() | other.keys() if not name.endswith(".path"))
    return {
        name: (one.get(name, "nothing"), other.get(name, "nothing"))
        for name in names
        if one.get(name, "nothing") != other.get(name, "nothing")
    }


def _flat(value: object, name: str = "") -> dict[str, object]:
    """The leaves of nested JSON by dotted name; a list of plain values is one leaf."""
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        pairs = enumerate(value)
    else:
        return {name: value}
    leaves = {}
    for key, inner in pairs:
        leaves |= _flat(inner, f"{name}.{key}" if name else str(key))
    return leaves


def main() -> int:
    """Parses the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", help="an out of a stage, like reports/evaluation/standard")
    parser.add_argument("--row", type=int, help="index of a row, or of a piece of work: only that one, with its inputs")
    args = parser.parse_args()
    return guarded(run, args.out, args.row)
