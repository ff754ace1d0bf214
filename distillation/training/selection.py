"""Selection of real images of a class, for the coreset methods and the baselines.

Each function takes features (N, F) of the N images of one class, floating-point on any device, and a ``count`` of at
most N. It returns ``count`` different indices of images, (count,) int64 on the CPU, in the order of selection
(``k_means``: of the clusters). Herding and k-center follow the definitions in DC (ICLR 2021, section 4.1) and its
authors' pseudo-code in issues 15 and 21 of the official repository.
"""

import numpy as np
import torch
from torch import Tensor


def herding(features: Tensor, count: int) -> Tensor:
    """Selects images one by one, each so that the mean of the selection comes closest to the mean of the class.

    Distances are Euclidean; among equal ones the first image wins.
    """
    mean = features.mean(0)
    indices, total = [], torch.zeros_like(mean)
    for i in range(1, count + 1):
        # Sums instead of means: i times the distance of the means, which has its minimum at the same image.
        distance = (features + total - mean * i).norm(dim=1)
        distance[indices] = torch.inf
        indices.append(int(distance.argmin()))
        total = total + features[indices[-1]]
    return torch.tensor(indices)


def k_center(features: Tensor, count: int) -> Tensor:
    """Selects the image closest to the class mean, then repeatedly the one farthest from all selected images.

    The distance of an image is the Euclidean one to the nearest image selected so far (its centre).
    """
    indices = [int((features - features.mean(0)).norm(dim=1).argmin())]
    nearest = (features - features[indices[0]]).norm(dim=1)
    while len(indices) < count:
        nearest[indices] = -1  # below every distance: duplicates of a centre, at 0, may still be chosen
        indices.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (features - features[indices[-1]]).norm(dim=1))
    return torch.tensor(indices)


def k_means(features: Tensor, count: int, seed: int) -> Tensor:
    """Selects for each of ``count`` clusters the real image nearest to its centroid, no image twice.

    The clusters are the best of ten runs of scikit-learn's KMeans in float64, seeded by ``seed``.
    """
    from sklearn.cluster import KMeans  # slow to import, and rarely needed by importers of this module
    from threadpoolctl import threadpool_limits

    values = features.double().cpu().numpy()
    with threadpool_limits(1):  # several threads would add in an order of their own
        clusters = KMeans(count, n_init=10, random_state=seed)  # pyright: ignore[reportArgumentType]  # its stub knows only auto
        centroids = clusters.fit(values).cluster_centers_
    indices = []
    for centroid in centroids:
        distance = np.linalg.norm(values - centroid, axis=1)
        distance[indices] = np.inf
        indices.append(int(distance.argmin()))
    return torch.tensor(indices)
