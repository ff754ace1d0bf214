"""Views of CIFAR-sized images for self-supervised learning against lightly's transforms, side by side in one run.

    python -m benchmarks.two_views [--batch 512] [--steps 5] [--threads 1]

The yardstick is what lightly offers: PIL images, one by one. Both make the views of the same images by the same settings;
each line gives the median over the steps and the growth of memory during one. The machines are noisy: only figures of one
run compare.
"""

import argparse

import torch
from torchvision.transforms.functional import to_pil_image

from benchmarks.measure import table
from distillation.runtime import device
from distillation.runtime.random import generator
from distillation.teachers.selfsupervised.views import View, asymmetric, draw, show

SIZE = 32


def contests():
    """Name to (our Views, lightly's transform)."""
    from lightly.transforms import BYOLTransform, MoCoV2Transform, SwaVTransform
    from lightly.transforms.byol_transform import BYOLView1Transform, BYOLView2Transform

    moco = [View(SIZE, (0.2, 1.0), (0.4, 0.4, 0.4, 0.1), blur=0.5)] * 2
    swav = [View(SIZE, (0.14, 1.0), (0.8, 0.8, 0.8, 0.2), blur=0.5)] * 2
    swav += [View(SIZE // 2, (0.05, 0.14), (0.8, 0.8, 0.8, 0.2), blur=0.5)] * 6
    byol = BYOLTransform(BYOLView1Transform(input_size=SIZE), BYOLView2Transform(input_size=SIZE))
    return {
        "MoCo v2, 2 views": (moco, MoCoV2Transform(input_size=SIZE)),
        "BYOL, 2 views": (asymmetric(SIZE, 0.08, [1.0, 0.1]), byol),
        "SwAV, 2 and 6 views": (swav, SwaVTransform(crop_sizes=(SIZE, SIZE // 2))),
    }


def ours(images, views):
    """One call is what a training step asks for."""
    count = iter(range(10**9))

    def step():
        draws = generator(0, "views", next(count))
        raw = images.float() / 255
        return [show(raw, view, draw(view, len(raw), SIZE, True, draws)) for view in views]

    return step


def one_by_one(images, transform):
    """lightly's transform of every image, stacked as its loader would."""
    pictures = [to_pil_image(image) for image in images]

    def step():
        return [torch.stack(views) for views in zip(*map(transform, pictures), strict=True)]

    return step


def main(args):
    device.prepare(args.threads)
    images = torch.randint(0, 256, (args.batch, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator(0, "images"))
    for name, (views, transform) in contests().items():
        print(f"{name}: {args.batch} images, {args.threads} thread{'s' * (args.threads > 1)}")
        named = {"lightly, PIL": one_by_one(images, transform), "ours": ours(images, views)}
        for who, seconds in table(named, args.steps, torch.device("cpu")).items():
            print(f"  {who:12s} {args.batch / seconds:10,.0f} images/s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    main(parser.parse_args())
