"""A set as the Parquet file that Hugging Face's ``datasets`` writes: images as bytes, and its features in the metadata."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from distillation.runtime.errors import BadInput

if TYPE_CHECKING:
    from distillation.data.distilled import DistilledSet


def write(path: Path, distilled: "DistilledSet", images: Sequence[bytes]) -> None:
    """Writes a set as one Parquet file.

    Its columns are ``image``, ``label`` (if each image has a class) and ``target`` (if the set has label vectors).
    Their types are in the metadata in the form of ``datasets``, which then decodes images and names classes.

    Args:
        path: the file.
        distilled: the set.
        images: the PNG file of each image, in the order of the set.

    Raises:
        BadInput: pyarrow is not installed.
    """
    arrow, pq = _pyarrow()
    names = [f"{i:06d}.png" for i in range(len(images))]
    columns = {
        "image": arrow.array([{"bytes": b, "path": n} for b, n in zip(images, names, strict=True)], _image(arrow))
    }
    features = {"image": {"_type": "Image"}}
    if distilled.labels is not None:
        columns["label"] = arrow.array(distilled.labels.cpu().numpy(), arrow.int64())
        features["label"] = {"names": distilled.info["classes"], "_type": "ClassLabel"}
    if distilled.targets is not None:
        values = arrow.array(np.ascontiguousarray(distilled.targets.cpu().numpy()).ravel(), arrow.float32())
        columns["target"] = arrow.FixedSizeListArray.from_arrays(values, width := distilled.targets.shape[1])
        vector = {"feature": {"dtype": "float32", "_type": "Value"}, "length": width, "_type": "Sequence"}
        features["target"] = vector
    note = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(arrow.table(columns).replace_schema_metadata(note), path)


def _image(arrow: ModuleType) -> Any:
    """The type of a column of images: the bytes of a file, and its name."""
    return arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])


def _pyarrow() -> tuple[ModuleType, ModuleType]:
    """Imports pyarrow and its part for Parquet, which nothing else needs; raises BadInput if it is not installed."""
    try:
        import pyarrow  # pyright: ignore[reportMissingImports] an extra: requirements-parquet.txt
        import pyarrow.parquet  # pyright: ignore[reportMissingImports] as before
    except ImportError as error:
        raise BadInput("pyarrow is not installed: run `pip install -r requirements-parquet.txt`.") from error
    return pyarrow, pyarrow.parquet
