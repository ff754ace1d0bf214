"""Fetches and verifies a dataset and writes it as one file.

    python -m stages.download
    python -m stages.download targets/svhn       # with targets.svhn in params.yaml

Published files come from data/raw/DATASET, else from the folder $DD_MIRROR, else from the network, and are then kept in
data/raw/DATASET. An imagefolder comes from its archive.

Reads   params.yaml: the section dataset, or sources.NAME or targets.NAME if KEY is sources/NAME or targets/NAME;
        published files or an archive
Writes  data/real/dataset, data/real/sources/NAME or data/real/targets/NAME: dataset.safetensors. If images stay in
        files, these are unpacked into data/raw/images, or linked there
"""

import argparse
import re
import sys
from typing import Any

from distillation import params
from distillation.data.faults import counted, summary
from distillation.datasets.load import read
from distillation.datasets.settings import DatasetSettings, SourceSettings, check_content
from distillation.runtime import process
from distillation.runtime.errors import BadInput, guarded
from distillation.runtime.files import atomic_output


def run(key: str) -> None:
    """Reads a dataset, prints its size, and writes its folder whole, or not at all.

    Args:
        key: ``dataset``, ``sources/NAME`` or ``targets/NAME``: the section, and the folder below data/real.

    Raises:
        BadInput: the key is none of these, or the files are missing, wrong or cannot be downloaded.
    """
    process.begin()
    if key != "dataset" and not re.fullmatch(r"(sources|targets)/[\w-]+", key):
        raise BadInput(f"'{key}' is no dataset's key: it should be dataset, sources/NAME or targets/NAME.")
    schema = DatasetSettings if key == "dataset" else SourceSettings
    settings = params.load().section(key.replace("/", "."), schema)
    dataset = read(settings, process.root() / "data/raw")
    if isinstance(settings, SourceSettings):
        check_content(
            settings, key.replace("/", "."), dataset.info["files"][0]["sha256"] if dataset.info["files"] else None
        )
    with atomic_output(f"data/real/{key}") as folder:
        dataset.save(folder)
    channels, size, classes = dataset.shape
    counts = f"{len(dataset.train):,} train and {len(dataset.test):,} test images"
    print(f"{settings.name}: {counts}, {classes} classes, {size}x{size}x{channels}, {dataset.info['stats']} statistics")
    for skipped in dataset.skipped.values():
        print(f"note: {counted(skipped)} skipped: {summary(skipped)}.", file=sys.stderr)
    if not dataset.in_memory:
        images: Any = dataset.train.images  # IndexedImages
        print(f"They are decoded on demand, from {images.root}.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "key", nargs="?", default="dataset", metavar="KEY", help="dataset (default), sources/NAME or targets/NAME"
    )
    sys.exit(guarded(run, parser.parse_args().key))
