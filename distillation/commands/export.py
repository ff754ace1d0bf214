"""Exports a distilled set as a folder of PNGs, an npz or a Parquet file, with a card. A command, no stage.

    python -m distillation export --to npz out/

Reads   data/relabeled/distilled.safetensors, or the set that --set names; data/real/dataset, if it is here, for the files
        that the set came from
Writes  PATH, a new folder: README.md, and CLASS/NUMBER.png, or distilled.npz, or data/train-00000-of-00001.parquet

PNG, alone or in Parquet, has 8 bits; the loss is printed and noted in the card. The npz is exact.
"""

import argparse
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distillation.data import npz, real, valid
from distillation.data.distilled import FILE, DistilledSet
from distillation.export import parquet
from distillation.export.card import card
from distillation.export.pictures import pngs
from distillation.runtime import process, tensors
from distillation.runtime.errors import BadInput, guarded
from distillation.runtime.files import atomic_output

if TYPE_CHECKING:
    from distillation.export.pictures import Loss

SET, DATA = f"data/relabeled/{FILE}", "data/real/dataset"
LONGEST = 255  # bytes of a file's name on Linux's file systems
KINDS = ("hard", "soft", "logits", "regression", "features")


def run(layout: str, path: str, set_file: str) -> None:
    """Writes a set and its card into a new folder, whole or not at all.

    Args:
        layout: a key of ``LAYOUTS``: ``folder``, ``npz`` or ``parquet``.
        path: the new folder.
        set_file: file of a DistilledSet.

    Raises:
        BadInput: the set does not fit the layout, or the folder cannot be made.
    """
    process.begin()
    distilled = DistilledSet.load(set_file)
    _check(distilled, layout, Path(path), set_file)  # before the folder is made
    with atomic_output(path) as out:
        loss = LAYOUTS[layout](out, distilled)
        (out / "README.md").write_text(card(distilled, layout, loss, _source()), encoding="utf-8")
    print(f"{path}: {len(distilled.images)} images.{f' {loss}' if loss else ''}")


def _check(distilled: DistilledSet, layout: str, path: Path, set_file: str) -> None:
    """Raises BadInput if the set does not fit the layout, or the folder cannot be made."""
    if distilled.kind not in KINDS:
        raise BadInput(
            f"{set_file} has labels of kind {distilled.kind}, which are a file of their own beside it: export the set as it "
            "was before, --set data/distilled/distilled.safetensors."
        )
    if layout == "folder" and distilled.labels is None:
        raise BadInput(
            f"{set_file} has {distilled.kind} and no classes, which folders are made of: export it as npz or parquet."
        )
    if layout == "folder" and (
        odd := [name for name in distilled.info["classes"] if not _is_file_name(_written(name))]
    ):
        raise BadInput(
            f"{set_file} has the class {odd[0]!r}, which no folder can be called: export it as npz or parquet."
        )
    if path.exists():
        raise BadInput(f"{path} exists: name a new folder, or remove it first.")
    if file := next((parent for parent in path.parents if parent.is_file()), None):
        raise BadInput(f"{path} cannot be made, since {file} is a file: name another folder.")


def _folder(out: Path, distilled: DistilledSet) -> "Loss | str":
    """Writes a folder of PNGs for each class; returns what is lost."""
    images, loss = pngs(distilled)
    assert distilled.labels is not None  # ``_check`` refuses others
    for i, (image, label) in enumerate(zip(images, distilled.labels.tolist(), strict=True)):
        folder = out / _written(distilled.info["classes"][label])
        folder.mkdir(exist_ok=True)
        (folder / f"{i:06d}.png").write_bytes(image)
    return (
        f"{loss} Vectors ({distilled.kind}) stay behind: only classes go into folders."
        if distilled.kind != "hard"
        else loss
    )


def _written(name: str) -> str:
    """The name of a class as that of a folder beside README.md: /, %, control characters, a leading dot are percent-encoded."""
    return re.sub(r"[%/\x00-\x1f\x7f]|^\.|^R(?=EADME\.md$)", lambda match: f"%{ord(match[0]):02X}", name)


def _is_file_name(name: str) -> bool:
    try:
        return 0 < len(os.fsencode(name)) <= LONGEST
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def _npz(out: Path, distilled: DistilledSet) -> None:
    """Writes ``distilled.npz``, from which nothing is lost."""
    npz.save(out / "distilled.npz", *distilled.packed())


def _parquet(out: Path, distilled: DistilledSet) -> "Loss":
    """Writes one Parquet file, named as Hugging Face names a training split of one part; returns what is lost."""
    images, loss = pngs(distilled)
    (out / "data").mkdir()
    parquet.write(out / "data/train-00000-of-00001.parquet", distilled, images)
    return loss


LAYOUTS = {"folder": _folder, "npz": _npz, "parquet": _parquet}


def _source() -> dict[str, Any] | None:
    """The record of the dataset in this workspace, None if there is none."""
    path = Path(DATA) / real.FILE  # its record alone is read, not its images
    if not path.is_file():
        return None
    with tensors.opened(path) as view:
        valid.check_record(valid.RealRecord, view.info, path)
        return view.info


def main() -> int:
    """Parses the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", choices=list(LAYOUTS), required=True)
    parser.add_argument("--set", default=SET, dest="set_file", metavar="FILE", help=f"the set (default: {SET})")
    parser.add_argument("path", help="the new folder")
    args = parser.parse_args()
    return guarded(run, args.to, args.path, args.set_file)
