"""Copies of what was drawn on the CPU to the device, for which the host does not wait."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Copies a tensor of the CPU, such as an order or the numbers of an augmentation, to a device.

    On a GPU the copy goes through pinned memory and is only enqueued: a copy from ordinary memory would make the host
    wait for all that the GPU still has to do. The pinned memory is torch's own to reuse, once the copy has taken place.

    Args:
        tensor: on the CPU; a tensor elsewhere is treated as by ``Tensor.to``.
        device: where it is needed.

    Returns:
        The tensor on the device; ``tensor`` itself if it is there already.
    """
    device = torch.device(device)
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
