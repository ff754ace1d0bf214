"""Several networks of one word as one module: each layer runs once for all of them, and each keeps weights of its own.

Small networks leave a device idle: most of a step's time is the start of its many operations. G networks side by side
start as many operations as one. Their maps (N, C, H, W) stand side by side in the channels, (N, G * C, H, W), so a
convolution becomes one of G groups, and a norm of channels becomes one of G times as many. No number of one network
meets a number of another.
"""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distillation.networks.build import Network, outline
from distillation.networks.norms import BatchNorm

# layers without weights that treat every channel, or every number, by itself
_ALIKE = (
    *(nn.ReLU, nn.Sigmoid, nn.LeakyReLU, nn.SiLU, nn.Identity, nn.Flatten),
    *(nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d),
)


class GroupedLinear(nn.Module):
    """G linear layers: maps (N, G * inputs) to (N, G * outputs).

    Args:
        groups: G.
        inputs: inputs of each layer.
        outputs: outputs of each layer.
    """

    def __init__(self, groups: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(groups * outputs, inputs))
        self.bias = nn.Parameter(torch.empty(groups * outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Applies layer g to the g-th part of the numbers of each image."""
        weight = self.weight.unflatten(0, (self.groups, -1))
        bias = self.bias.unflatten(0, (self.groups, 1, -1))
        parts = x.unflatten(1, (self.groups, -1)).transpose(0, 1)
        return (
            torch.baddbmm(bias.to(parts.dtype), parts, weight.transpose(1, 2).to(parts.dtype))
            .transpose(0, 1)
            .flatten(1)
        )


class GroupedLayerNorm(nn.Module):
    """G layer norms of maps (N, G * C, H, W), each over the C channels and all pixels of its part.

    Args:
        groups: G.
        shape: (C, H, W).
        eps: added to the variance.
    """

    def __init__(self, groups: int, shape: Sequence[int], eps: float) -> None:
        super().__init__()
        self.groups, self.shape, self.eps = groups, list(shape), eps
        self.weight = nn.Parameter(torch.empty(groups * shape[0], *shape[1:]))
        self.bias = nn.Parameter(torch.empty(groups * shape[0], *shape[1:]))

    def forward(self, x: Tensor) -> Tensor:
        """Normalises the maps; the shape stays."""
        normal = F.layer_norm(x.unflatten(1, (self.groups, -1)), self.shape, eps=self.eps)
        return normal.flatten(1, 2) * self.weight + self.bias


class Grouped(nn.Module):
    """G networks of one word that compute together, with the weights of G given networks, copied.

    Args:
        networks: G networks of one word and shape on one device. One of them may stand several times, to fill a place.

    Raises:
        ValueError: the networks have a layer that cannot be grouped (see ``groupable``).
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        super().__init__()
        self.groups = len(networks)
        with torch.device("meta"):  # no memory and no random numbers for weights that are replaced at once
            self.layers = _widened(networks[0], self.groups)
        # On a CPU convolutions are 1.3 times as fast with the channels last, but group norms take up to ten times as long.
        on_cpu = next(networks[0].parameters()).device.type == "cpu"
        plain = any(isinstance(layer, nn.GroupNorm) for layer in self.layers.modules())
        self.format = torch.channels_last if on_cpu and not plain else torch.contiguous_format
        states = [network.state_dict() for network in networks]
        whole = {name: self._arranged(joined([state[name] for state in states])) for name in states[0]}
        self.layers.load_state_dict(whole, assign=True)

    def lend(self, network: nn.Module, place: int) -> None:
        """Makes a network share the memory of place ``place``: what changes the weights here changes the network's."""
        state = network.state_dict(keep_vars=True)
        for name, value in self.parts(self.layers.state_dict(), place).items():
            state[name].data = value

    def forward(self, images: Tensor) -> Tensor:
        """Computes the logits (G, N, K) of images (G, N, C, H, W): network g sees the images g."""
        maps = self._arranged(images.transpose(0, 1).flatten(1, 2))
        return self.layers(maps).unflatten(1, (self.groups, -1)).transpose(0, 1)

    def _arranged(self, tensor: Tensor) -> Tensor:
        return tensor.contiguous(memory_format=self.format) if tensor.ndim == 4 else tensor

    def parts(self, tensors: Mapping, place: int) -> dict:
        """Returns the part of network ``place`` of each tensor that holds one for each network; views, no copies.

        Args:
            tensors: by name, of the shapes of this module's state. A tensor () counts for all networks.
            place: number of the network.
        """
        return {
            name: value.unflatten(0, (self.groups, -1))[place] if value.ndim else value
            for name, value in tensors.items()
        }


def groupable(name: str, channels: int, size: int, classes: int) -> bool:
    """Whether ``Grouped`` knows all layers of a network; the arguments are those of ``build``.

    AlexCifarNet's local response norm, which looks at neighbouring channels, is the one of this project's that it does
    not know.
    """
    kinds = (*_ALIKE, nn.Conv2d, nn.Linear, nn.GroupNorm, nn.LayerNorm, BatchNorm)
    layers = outline(name, channels, size, classes).modules()
    return all(isinstance(layer, kinds) for layer in layers if not list(layer.children()))


def _widened(network: Network, groups: int) -> nn.Module:
    """Returns a copy of the network whose layers compute ``groups`` networks; its weights are still empty."""
    wide = copy.deepcopy(network)
    for parent in list(wide.modules()):
        for name, child in parent.named_children():
            if not list(child.children()):
                setattr(parent, name, _wide(child, groups))
    return wide


def _wide(layer: nn.Module, groups: int) -> nn.Module:
    """Returns the layer that computes ``groups`` such layers side by side."""
    if isinstance(layer, nn.Conv2d):
        inside, outside = groups * layer.in_channels, groups * layer.out_channels
        shape = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        return nn.Conv2d(inside, outside, *shape, groups * layer.groups, layer.bias is not None)  # pyright: ignore[reportArgumentType]  # pairs
    if isinstance(layer, nn.Linear):
        return GroupedLinear(groups, layer.in_features, layer.out_features)
    if isinstance(layer, nn.GroupNorm):
        return nn.GroupNorm(groups * layer.num_groups, groups * layer.num_channels, layer.eps)
    if isinstance(layer, nn.LayerNorm):
        return GroupedLayerNorm(groups, layer.normalized_shape, layer.eps)
    if isinstance(layer, BatchNorm):
        return BatchNorm(groups * layer.num_features, layer.eps, layer.momentum)
    if isinstance(layer, _ALIKE):
        return layer
    raise ValueError(f"{type(layer).__name__} cannot be grouped")


def joined(values: Sequence[Tensor]) -> Tensor:
    """Joins a tensor of every network along its first dimension; of numbers (), which all share, it copies the first."""
    if not values[0].ndim:
        return values[0].detach().clone()
    return torch.cat([value.detach() for value in values])
