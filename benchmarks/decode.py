"""Decoding on load against torchvision's ImageFolder in a DataLoader, side by side in one run.

    python -m benchmarks.decode ARCHIVE --size 224 --images 256 --batch 64 --longer 500 --steps 3

ARCHIVE is that of an imagefolder. All contestants resize the shorter side and crop the middle, Lanczos, to uint8 batches,
in the order of the files or in a random one. The DataLoader has as many workers as there are cores, or none. ``--longer``
first converts the images into JPEGs of that many pixels by three quarters of it, the shape of ImageNet's photographs.
Without it nothing is resized if the archive's images have the size already. Each line gives images a second, the median
over the steps, in which the contestants take turns. The machines are noisy: only figures of one run compare.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2
from torchvision.transforms.functional import to_pil_image

from benchmarks.common import Hot
from benchmarks.measure import race
from distillation.data.faults import Findings
from distillation.datasets import indexing
from distillation.runtime.random import generator

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.measure import Step
    from distillation.data.indexed import IndexedImages

SIZES = {"quick": {"images": 64}, "tiny": {"images": 4, "size": 16, "batch": 2}}


def product(images: "IndexedImages", order: "Tensor", batch: int) -> "Step":
    """A function that decodes the images at ``order`` batch by batch."""

    def step() -> None:
        for indices in order.split(batch):
            images[indices]

    return step


def product_in_order(images: "IndexedImages", batch: int) -> "Step":
    """A function that decodes all images batch by batch."""

    def step() -> None:
        for _ in images.split(batch):
            pass

    return step


def image_folder(folder: Path, order: "Tensor", size: int, batch: int, workers: int) -> "Step":
    """A function that loads the images at ``order`` by ImageFolder and a DataLoader with persistent workers."""
    resize = v2.Resize(size, v2.InterpolationMode.LANCZOS)
    files = ImageFolder(folder, v2.Compose([resize, v2.CenterCrop(size), v2.PILToTensor()]))
    loader = DataLoader(Subset(files, order.tolist()), batch, num_workers=workers, persistent_workers=workers > 0)

    def step() -> None:
        for _ in loader:
            pass

    return step


def enlarged(root: Path, longer: int) -> None:
    """Replaces each JPEG below ``root`` by one of ``longer`` by three quarters of it pixels."""
    for path in root.rglob("*.jp*g"):
        with Image.open(path) as image:
            larger = image.convert("RGB").resize((longer, longer * 3 // 4), Image.Resampling.BICUBIC)
        larger.save(path, quality=90)


def arguments() -> argparse.ArgumentParser:
    """The parser of this benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", nargs="?")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--longer", type=int, default=0)
    parser.add_argument("--steps", type=int, default=3)
    return parser


def steps(args: argparse.Namespace, device: torch.device, folder: Path) -> dict[str, Hot]:
    """Decoding of photographs of 4:3 in a random order, by the contract of ``common.Hot``; they are made in ``folder``."""
    longer, draws = args.longer or 2 * args.size, generator(0, "photographs")
    for split in ("train", "test"):
        (folder / split / "class").mkdir(parents=True)
        for index in range(args.images):
            smooth = torch.rand(1, 3, 12, 16, generator=draws)
            pixels = F.interpolate(smooth, (longer * 3 // 4, longer), mode="bicubic").clamp(0, 1).squeeze(0)
            to_pil_image(pixels).save(folder / split / "class" / f"{index}.jpg", quality=90)
    train = indexing.read(folder, args.size, "rgb", folder / "index", Findings()).splits[0]
    order = torch.randperm(args.images, generator=generator(0, "order"))
    plain = image_folder(folder / "train", order, args.size, args.batch, 0)
    return {"decode": Hot(plain=plain, ours=lambda _: product(train.images, order, args.batch), network=False)}


def main(args: argparse.Namespace) -> None:
    """Prints the images a second of each contestant."""
    if not args.archive:
        raise SystemExit("benchmarks.decode: name an archive of an imagefolder.")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        train = indexing.read(Path(args.archive), args.size, "rgb", Path(folder), Findings()).splits[0]
        root = train.images.root
        if args.longer:
            enlarged(root, args.longer)
            train = indexing.read(root, args.size, "rgb", Path(folder) / "again", Findings()).splits[0]
        mask = torch.zeros(len(train), dtype=torch.bool)
        mask[torch.randperm(len(train), generator=generator(0, "images"))[: args.images]] = True
        chosen, order = train.images[mask], mask.nonzero().squeeze(1)
        shuffled = order[torch.randperm(len(order), generator=generator(0, "order"))]
        photographs = next(root.rglob("train"))
        workers = os.cpu_count() or 1
        contestants = {
            "ImageFolder, no workers, in order": image_folder(photographs, order, args.size, args.batch, 0),
            f"ImageFolder, {workers} workers, in order": image_folder(
                photographs, order, args.size, args.batch, workers
            ),
            "decoded on load, in order": product_in_order(chosen, args.batch),
            "decoded on load, random": product(train.images, shuffled, args.batch),
        }
        seconds = race(contestants, args.steps, torch.device("cpu"))
        for name, each in seconds.items():
            print(f"{name:36s} {len(order) / each:8.0f} images a second")


if __name__ == "__main__":
    main(arguments().parse_args())
