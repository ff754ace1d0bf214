"""Statistics of the images alone, as raw pixels: 0 is black and 1 is white, whatever the method's space."""

import torch
from torch import Tensor

from distillation.evaluation.assess.features import mean_of, spread


def statistics(raw: Tensor, labels: Tensor) -> dict[str, float | None]:
    """Computes statistics of images without any network.

    Args:
        raw: raw images (N, C, H, W), not clamped.
        labels: their classes (N,).

    Returns:
        By name:

        - ``pixel_mean`` and ``pixel_std`` (population) of all values;
        - ``outside``: percent of values below 0 or above 1, which no real pixel has;
        - ``total_variation``: mean absolute difference of two neighbouring pixels, horizontal or vertical
          (anisotropic);
        - ``pixel_diversity``: mean Euclidean distance between two images of a class, mean over the classes; None if no
          class has two images.
    """
    mean = _mean(raw)
    steps = [raw.diff(dim=dim).abs() for dim in (2, 3)]
    return {
        "pixel_mean": float(mean),
        "pixel_std": float(_mean((raw - mean).square()).sqrt()),
        "outside": 100 * float(_mean((raw < 0) | (raw > 1))),
        "total_variation": float(_mean(torch.cat([each.flatten() for each in steps]))),
        "pixel_diversity": mean_of(spread(raw[labels == c].flatten(1).double()) for c in labels.unique()),
    }


def _mean(values: Tensor) -> Tensor:
    return values.mean(dtype=torch.float64)
