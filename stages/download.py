"""Stage `download`: fetch and verify a dataset and write it as one file.

Reads params.yaml: the section `dataset`, or `sources.NAME` or `targets.NAME` when KEY is sources/NAME or targets/NAME.
Reads published files from $DVC_ROOT/data/raw/DATASET/, then from the folder $DD_MIRROR, else downloads them to the
former; an imagefolder is read from its `archive`.
Writes data/real/dataset/, data/real/sources/NAME/ or data/real/targets/NAME/: dataset.safetensors.
"""

import argparse
import os
import re
import shutil
import sys
from pathlib import Path

from stages import params
from stages.datasets.load import read
from stages.datasets.settings import DatasetSettings, SourceSettings
from stages.runtime.errors import BadInput, guarded


def run(key):
    """Read the dataset that ``key`` names and write its folder whole, or not at all."""
    if key != "dataset" and not re.fullmatch(r"(sources|targets)/[\w-]+", key):
        raise BadInput(f"'{key}' is no dataset's key: it should be dataset, sources/NAME or targets/NAME.")
    schema = DatasetSettings if key == "dataset" else SourceSettings
    settings = params.load().section(key.replace("/", "."), schema)
    dataset = read(settings, Path(os.environ.get("DVC_ROOT", ".")) / "data/raw")
    write(dataset, Path("data/real") / key)
    channels, size, classes = dataset.shape
    counts = f"{len(dataset.train):,} train and {len(dataset.test):,} test images"
    print(f"{settings.name}: {counts}, {classes} classes, {size}x{size}x{channels}, {dataset.info['stats']} statistics")


def write(dataset, out):
    """Save into a folder next to ``out`` that takes its place when complete; nothing is left of it on failure."""
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        dataset.save(partial)
        if out.exists():
            shutil.rmtree(out)
        os.rename(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m stages.download", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("key", nargs="?", default="dataset", metavar="KEY", help="sources/NAME or targets/NAME")
    return guarded(run, parser.parse_args(arguments).key)


if __name__ == "__main__":
    sys.exit(main())
