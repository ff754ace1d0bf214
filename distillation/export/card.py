"""README.md of an exported set: its content, its origin and its terms."""

import re
from typing import TYPE_CHECKING, Any

from distillation.datasets.catalogue import CATALOGUE
from distillation.runtime.text import one_line

if TYPE_CHECKING:
    from distillation.data.distilled import DistilledSet
    from distillation.export.pictures import Loss

# Hugging Face reads the head: the place of the data and the licence, for which its list has none that fits derived images.
_HEAD = """---
license: other
tags:
- dataset-distillation
- image-classification
configs:
- config_name: default
  data_files: "{files}"
---
"""
_FILES = {"parquet": "data/*.parquet", "folder": "*/*.png", "npz": "*.npz"}
_HOLDS = {
    "folder": "`CLASS/NUMBER.png`, as `datasets.load_dataset('imagefolder', data_dir=...)` and torchvision's ImageFolder read "
    "it; `/` and `%` in names of classes are written `%2F` and `%25`, control characters likewise.",
    "npz": "`distilled.npz`: `images` (N, C, H, W) float32, just what a network is given; `labels` and `targets` where it has "
    "them; `space.*`, the way back to raw pixels (below); `info`, a record in JSON. `numpy.load` reads it.",
    "parquet": "`data/train-00000-of-00001.parquet`, as `datasets.load_dataset` reads it: `image`, `label` where images have "
    "classes, `target` where the set has vectors.",
}
_SPACES = {
    "raw": "raw pixels in [0, 1]; networks are given them so",
    "normalised": "(raw - mean) / std of each channel, raw pixels in [0, 1]",
    "whitened": "(raw - mean) @ matrix, raw pixels in [0, 1] flattened; raw = images @ inverse + mean",
}


def card(distilled: "DistilledSet", layout: str, loss: "Loss | str | None", source: dict[str, Any] | None) -> str:
    """Writes the text of the card, in Markdown with a head that Hugging Face reads.

    Args:
        distilled: the exported set.
        layout: ``folder``, ``npz`` or ``parquet``.
        loss: the sentence about what PNGs lose; None for an npz.
        source: the record of the dataset in this workspace, whose files are listed if the set was made from it; None:
            there is no dataset.
    """
    info = distilled.info
    count, channels, height, width = distilled.images.shape
    facts = [
        f"- Images: {count}, {height}×{width}×{channels}, of {len(info['classes'])} classes{_form(distilled)}",
        f"- Labels: {info['labels']}{_width(distilled)}",
        f"- Made by: {_code(info['method'])}{_origin(info)}, seed {info['seed']}",
        *_labelled(info),
        f"- Space of the numbers that networks are given: {distilled.space.kind}: {_SPACES[distilled.space.kind]}",
    ]
    parts = [
        f"# {_plain(info['dataset'])}, distilled to {count} images",
        "\n".join(facts),
        f"## Files\n\n{_HOLDS[layout]}",
        *([f"## What is lost\n\n{loss}{_network_input(distilled)}"] if loss else []),
        f"## Licence and origin\n\n{_terms(info['dataset'])}\n\n{_files(info['dataset'], source)}",
        *_reuse(distilled, layout),
    ]
    return _HEAD.format(files=_FILES[layout]) + "\n" + "\n\n".join(parts) + "\n"


def _form(distilled: "DistilledSet") -> str:
    """Clause about the files that networks were given the images from; empty if they were given the method's numbers."""
    if distilled.pixels == "float":
        return ""
    size = distilled.bytes["images"]
    return (
        f"; networks were given them as they are read from {distilled.pixels.upper()} files of 8 bits, {size:,} bytes"
    )


def _width(distilled: "DistilledSet") -> str:
    """Clause about the length of label vectors; empty for hard labels."""
    return "" if distilled.targets is None else f", {distilled.targets.shape[1]} numbers an image"


def _origin(info: dict[str, Any]) -> str:
    """Clause about the method that an imported set records for itself; empty for other sets."""
    return f" (before: {_code(info['origin'])})" if "origin" in info else ""


def _labelled(info: dict[str, Any]) -> list[str]:
    """Lines about who labelled the set: the networks of a pool, or the pool alone if the method itself labelled by it."""
    if not (teacher := info.get("teacher")):
        return []
    if isinstance(teacher, str):
        return [f"- Teacher: pool {_code(teacher)}"]
    accuracy = "" if teacher["accuracy"] is None else f", {teacher['accuracy']} % accurate on the test set"
    networks = ", ".join(map(_plain, teacher["networks"]))
    return [f"- Labelled by: {networks} of the pool {_code(teacher['pool'])}{accuracy}"]


def _network_input(distilled: "DistilledSet") -> str:
    """Sentence about how the images of PNGs become the input of the networks."""
    if distilled.space.kind == "normalised":
        numbers = (", ".join(f"{v:.6g}" for v in distilled.space.tensors[name].tolist()) for name in ("mean", "std"))
        return " Networks were given them normalised: mean {}; std {}.".format(*numbers)
    form = "as they are, in [0, 1]" if distilled.space.kind == "raw" else "whitened, by matrices that the npz holds"
    return f" Networks were given them {form}."


def _terms(dataset: str) -> str:
    """Sentences about the terms of a dataset, which hold for images derived from it."""
    entry = CATALOGUE.get(dataset)
    terms = entry.terms if entry else "Not known here."
    origin = f"The images derive from {_plain(dataset)}, whose terms hold for them too: {terms}"
    return f"{origin} The software that made them is under MIT."


def _files(dataset: str, source: dict[str, Any] | None) -> str:
    """Sentence about the dataset, with its files and their digests if ``source`` is its record and names any."""
    if not source or source["name"] != dataset or not source.get("files"):
        return f"Distilled from the training images of {_plain(dataset)}."
    files = "\n".join(f"- {_code(file['name'])}, sha256 `{file['sha256']}`" for file in source["files"])
    return f"Distilled from the training images of {_plain(dataset)}, read from:\n\n{files}"


def _code(text: str) -> str:
    """Text of data as code in Markdown: fenced by more backticks than it has in a row."""
    text = one_line(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if "`" in text else f"`{text}`"


def _plain(text: str) -> str:
    """Text of data within Markdown: no link, no HTML, no emphasis."""
    return re.sub(r"[\\`*\[\]<>]", r"\\\g<0>", one_line(text))


def _reuse(distilled: "DistilledSet", layout: str) -> list[str]:
    """Section about how to import the set again; empty for Parquet, which cannot be imported."""
    if layout == "parquet":
        return []
    file, labels = ("PATH", "hard") if layout == "folder" else ("PATH/distilled.npz", distilled.kind)
    return [
        f"## Use it again\n\n`method.name: imported`, `method.imported.file: {file}`, `method.imported.labels: {labels}` and "
        f"`method.ipc: {distilled.info['ipc']}`, on the same dataset."
    ]
