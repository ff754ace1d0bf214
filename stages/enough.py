"""Refuses more images per class than the smallest class of the dataset has, before teachers are trained.

    python -m stages.enough

Reads   params.yaml: method.ipc; data/real/dataset
Writes  data/enough, always the same bytes, so that another method.ipc makes no teacher stale
"""

import argparse
import sys
from pathlib import Path

from distillation import params, paths
from distillation.data.real import require_images
from distillation.runtime import process
from distillation.runtime.errors import guarded

OUT = Path("data/enough")


def run() -> None:
    """Compares ``method.ipc`` with the number of training images of each class, and writes the out.

    Baselines select ``ipc`` real images of each class, so every method needs as many, also one that starts from noise.

    Raises:
        BadInput: a class has fewer.
    """
    process.begin()
    require_images(paths.DATASET, params.load().fields("method", params.Images).ipc)
    OUT.write_text("Every class has as many images as are distilled.\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    sys.exit(guarded(run))
