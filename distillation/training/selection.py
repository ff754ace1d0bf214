"""Selection of real images of a class, for the coreset methods and the baselines.

Each function takes features (N, F) of the images of one class and returns the indices (count,) int64 of the selected
images. The orders follow the definitions in DC (ICLR 2021, section 4.1) and its authors' pseudo-code in the repository's
issues 15 and 21.
"""

import numpy as np
import torch
from torch import Tensor


def herding(features: Tensor, count: int) -> Tensor:
    """Selects greedily, without replacement, so that the mean of the selection stays close to the class mean."""
    mean = features.mean(0)
    indices, total = [], torch.zeros_like(mean)
    for i in range(1, count + 1):
        distance = (features + total - mean * i).norm(dim=1)
        distance[indices] = torch.inf
        indices.append(int(distance.argmin()))
        total = total + features[indices[-1]]
    return torch.tensor(indices)


def k_center(features: Tensor, count: int) -> Tensor:
    """Selects the image closest to the class mean, then repeatedly the image farthest from its nearest centre."""
    indices = [int((features - features.mean(0)).norm(dim=1).argmin())]
    nearest = (features - features[indices[0]]).norm(dim=1)
    while len(indices) < count:
        nearest[indices] = -1
        indices.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (features - features[indices[-1]]).norm(dim=1))
    return torch.tensor(indices)


def k_means(features: Tensor, count: int, seed: int) -> Tensor:
    """Selects the real images nearest to the centroids of ``count`` clusters, each image once."""
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
