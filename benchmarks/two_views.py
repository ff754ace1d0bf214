"""Views of CIFAR-sized images for self-supervised learning against lightly's transforms, side by side in one run.

    python -m benchmarks.two_views --batch 512 --steps 5 --threads 1

The yardstick is the way of lightly: PIL images, one by one. Both make the views of the same images by the same settings.
Each line gives the median over the steps and the growth of memory during one. Each change of colour and the blur are then
compared with kornia's, which takes whole batches, too: time, and the difference between the images. The machines are
noisy: only figures of one run compare.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torchvision.transforms.functional import to_pil_image

from benchmarks.measure import race, table
from distillation.runtime import device
from distillation.runtime.random import generator
from distillation.teachers.selfsupervised import colours
from distillation.teachers.selfsupervised.views import View, asymmetric, blurred, draw, show

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.measure import Step

SIZE = 32  # pixels of CIFAR


def contests() -> dict[str, tuple[list[View], Callable[[Any], Any]]]:
    """The product's views and lightly's transform by the name of a contest."""
    from lightly.transforms.byol_transform import BYOLTransform, BYOLView1Transform, BYOLView2Transform
    from lightly.transforms.moco_transform import MoCoV2Transform
    from lightly.transforms.swav_transform import SwaVTransform

    moco = [View(SIZE, (0.2, 1.0), (0.4, 0.4, 0.4, 0.1), blur=0.5)] * 2
    swav = [View(SIZE, (0.14, 1.0), (0.8, 0.8, 0.8, 0.2), blur=0.5)] * 2
    swav += [View(SIZE // 2, (0.05, 0.14), (0.8, 0.8, 0.8, 0.2), blur=0.5)] * 6
    byol = BYOLTransform(BYOLView1Transform(input_size=SIZE), BYOLView2Transform(input_size=SIZE))
    return {
        "MoCo v2, 2 views": (moco, MoCoV2Transform(input_size=SIZE)),
        "BYOL, 2 views": (asymmetric(SIZE, 0.08, [1.0, 0.1]), byol),
        "SwAV, 2 and 6 views": (swav, SwaVTransform(crop_sizes=(SIZE, SIZE // 2))),
    }


def product(images: "Tensor", views: Sequence[View]) -> "Step":
    """A function that makes the views of one training step."""
    count = iter(range(10**9))

    def step() -> "list[Tensor]":
        draws = generator(0, "views", next(count))
        raw = images.float() / 255
        return [show(raw, view, draw(view, len(raw), SIZE, True, draws)) for view in views]

    return step


def one_by_one(images: "Tensor", transform: Callable[[Any], Any]) -> "Step":
    """A function that applies a transform of lightly to every image and stacks the views, as its loader would."""
    pictures = [to_pil_image(image) for image in images]

    def step() -> "list[Tensor]":
        return [torch.stack(views) for views in zip(*map(transform, pictures), strict=True)]

    return step


def changes(images: "Tensor") -> "dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor]]]":
    """The product's and kornia's function of each change to images (N, 3, S, S) in [0, 1], by the same random numbers."""
    from kornia import color, enhance, filters

    draws = generator(0, "changes")
    factor, turn, sigma = (torch.rand(len(images), generator=draws) for _ in range(3))
    factor, turn, sigma = factor + 0.5, turn * 0.2 - 0.1, sigma * 1.9 + 0.1
    width, sigmas = 2 * (images.shape[2] // 20) + 1, sigma.unsqueeze(1).expand(-1, 2)
    kornia = {
        "brightness": lambda: enhance.adjust_brightness_accumulative(images, factor),
        "contrast": lambda: enhance.adjust_contrast_with_mean_subtraction(images, factor),
        "saturation": lambda: enhance.adjust_saturation_with_gray_subtraction(images, factor),
        "hue": lambda: enhance.adjust_hue(images, 2 * math.pi * turn),
        "grey": lambda: color.rgb_to_grayscale(images),
        "solarize": lambda: enhance.solarize(images, 128 / 255),
        "blurred": lambda: filters.gaussian_blur2d(images, (width, width), sigmas, "reflect"),
    }
    functions = {
        "brightness": lambda: colours.brightness(images, factor),
        "contrast": lambda: colours.contrast(images, factor),
        "saturation": lambda: colours.saturation(images, factor),
        "hue": lambda: colours.hue(images, turn),
        "grey": lambda: colours.grey(images),
        "solarize": lambda: colours.solarize(images),
        "blurred": lambda: blurred(images, sigma),
    }
    return {name: (functions[name], kornia[name]) for name in functions}


def against_kornia(images: "Tensor", steps: int) -> None:
    """Prints the milliseconds of both functions of each change, and the largest difference between their images."""
    count, _, size, _ = images.shape
    print(f"{count} images of {size} px: ours, kornia's, kornia's over ours, largest difference")
    for name, (function, kornia) in changes(images).items():
        difference = float((function() - kornia()).abs().max())
        seconds = race({"ours": function, "kornia": kornia}, steps, images.device)
        print(
            f"  {name:12s} {1e3 * seconds['ours']:8.2f} ms {1e3 * seconds['kornia']:8.2f} ms "
            f"x{seconds['kornia'] / seconds['ours']:5.2f}   {difference:.1e}"
        )


def main(args: argparse.Namespace) -> None:
    """Prints every contest."""
    device.prepare(args.threads)
    images = torch.randint(0, 256, (args.batch, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator(0, "images"))
    for name, (views, transform) in contests().items():
        print(f"{name}: {args.batch} images, {args.threads} thread{'s' * (args.threads > 1)}")
        contestants = {"lightly, PIL": one_by_one(images, transform), "ours": product(images, views)}
        for who, seconds in table(contestants, args.steps, torch.device("cpu")).items():
            print(f"  {who:12s} {args.batch / seconds:10,.0f} images/s")
    for size, count in ((SIZE, args.batch), (3 * SIZE, args.batch // 8)):
        against_kornia(torch.rand(count, 3, size, size, generator=generator(0, "changed", size)), 3 * args.steps)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    main(parser.parse_args())
