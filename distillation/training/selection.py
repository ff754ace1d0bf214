"""Choosing real images of a class: what the coreset methods and the baselines share.

Each function takes features (N, F) of one class's images and gives the positions of those chosen. The orders follow
the definitions in DC (ICLR 2021, section 4.1) and its authors' pseudo-code in the repository's issues 15 and 21.
"""

import numpy as np
import torch


def herding(features, count):
    """Greedily keep the mean of the chosen close to the class mean, without replacement."""
    mean = features.mean(0)
    chosen, total = [], torch.zeros_like(mean)
    for i in range(1, count + 1):
        distance = (features + total - mean * i).norm(dim=1)
        distance[chosen] = torch.inf
        chosen.append(int(distance.argmin()))
        total = total + features[chosen[-1]]
    return torch.tensor(chosen)


def k_center(features, count):
    """Start at the image closest to the class mean; then always add the one farthest from its nearest centre."""
    chosen = [int((features - features.mean(0)).norm(dim=1).argmin())]
    nearest = (features - features[chosen[0]]).norm(dim=1)
    while len(chosen) < count:
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (features - features[chosen[-1]]).norm(dim=1))
    return torch.tensor(chosen)


def k_means(features, count, seed):
    """The real images nearest to the centroids of ``count`` clusters, each image once."""
    from sklearn.cluster import KMeans  # slow to import, and most who import this module select otherwise
    from threadpoolctl import threadpool_limits

    values = features.double().cpu().numpy()
    with threadpool_limits(1):  # threads would add up in an order of their own
        centroids = KMeans(count, n_init=10, random_state=seed).fit(values).cluster_centers_
    chosen = []
    for centroid in centroids:
        distance = np.linalg.norm(values - centroid, axis=1)
        distance[chosen] = np.inf
        chosen.append(int(distance.argmin()))
    return torch.tensor(chosen)
