"""The cross-entropy of a ConvNet with its first and second derivatives by hand, layer by layer: for eager passes.

Let g be the gradient of the loss by the parameters, v a fixed direction. The derivative of g'v by parameters and images
is taken by one pass forwards and one back (Pearlmutter, Neural Computation 1994): forwards go the changes dy of the maps
along v, and back goes s, the gradient by y of g'v. What the first passes left, the maps and the gradients by them, is
the trace. It serves both, so that no map is computed twice, and products with the same maps run as one convolution.
PyTorch's derivative of a derivative is the same but for rounding, and takes longer over poolings and norms.

A layer has four functions. ``p`` are its weight and bias, ``dp`` their part of v, ``kept`` is its part of the trace:

- ``forward(p, x)``: y, and what it keeps
- ``backward(p, kept, g, weights)``: the gradients of the loss by x and by p, of that by y, ``g``
- ``change(p, dp, kept, dx)``: dy; ``dx`` is None for images, which do not change
- ``second(p, dp, kept, dx, g, s, weights)``: the gradients of g'v by x and by p, of that by y, ``s``, and of the loss by
  y, ``g``

Without ``weights`` there is no gradient by p.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillation.networks.build import Network
from distillation.networks.names import Spec
from distillation.networks.norms import InstanceNorm

Pair = tuple[Tensor, ...]  # weight and bias, or nothing


class Trace(NamedTuple):
    """What the passes of a batch left behind.

    Attributes:
        kept: of each layer what ``forward`` kept.
        gradients: of each layer that has parameters the gradient of the loss by its output, else None.
        chances: softmax of the logits (n, classes).
    """

    kept: list[Any]
    gradients: list[Tensor | None]
    chances: Tensor


def traceable(spec: Spec) -> bool:
    """Whether a network has only layers that are here: ConvNet with instance norm or none, ReLU, average pooling or none."""
    return (
        spec.family == "ConvNet"
        and spec.norm in ("IN", "NN")
        and spec.activation == "AR"
        and spec.pooling in ("AP", "NP")
    )


# numbers of a trace, at the most, for each that a convolution or the classifier puts out: x, y, z and two g
NUMBERS = 5


class Traced:
    """The mean cross-entropy of a network as a function of one vector of all its parameters, by hand.

    Common arguments: ``vector`` and ``direction`` v (P,), ``images`` (n, C, S, S), ``labels`` (n,) int64.

    Args:
        network: ``traceable``; gives the layers, its own weights are not used.
    """

    def __init__(self, network: Network) -> None:
        modules = [module for module in network.body if not isinstance(module, nn.Identity)]  # pyright: ignore[reportGeneralTypeIssues]  # a Sequential
        self.layers: list[Any] = [
            _layer(module, first=i == 0) for i, module in enumerate([*modules, network.classifier])
        ]
        self.shapes = [[p.shape for p in module.parameters()] for module in [*modules, network.classifier]]
        self.sizes = [shape.numel() for shapes in self.shapes for shape in shapes]

    def gradient(self, vector: Tensor, images: Tensor, labels: Tensor) -> tuple[Tensor, Trace]:
        """Returns g (P,) and the trace."""
        by_parameters, trace = self._passes(vector, images, labels, weights=True)
        return self._vector(by_parameters), trace

    def trace(self, vector: Tensor, images: Tensor, labels: Tensor) -> Trace:
        """Returns the trace alone, for less than ``gradient`` takes."""
        return self._passes(vector, images, labels, weights=False)[1]

    def _passes(self, vector: Tensor, images: Tensor, labels: Tensor, weights: bool) -> tuple[list[Pair], Trace]:
        """Returns the gradients by the layers' parameters, the last layer's first, and the trace."""
        parameters, x, kept = self._parts(vector), _last(images), []
        for layer, p in zip(self.layers, parameters, strict=True):
            x, left = layer.forward(p, x)
            kept.append(left)
        chances = x.softmax(1)
        g = (chances - F.one_hot(labels, x.shape[1])) / len(labels)
        gradients, by_parameters = [], []
        for layer, p, left in zip(reversed(self.layers), reversed(parameters), reversed(kept), strict=True):
            gradients.append(g if p else None)
            g, own = layer.backward(p, left, g, weights)
            by_parameters.append(own)
        return by_parameters, Trace(kept, gradients[::-1], chances)

    def product_gradients(
        self, vector: Tensor, trace: Trace, direction: Tensor, weights: bool = True
    ) -> tuple[Tensor, Tensor | int, Tensor]:
        """Differentiates g'v.

        Args:
            vector: of the call of ``gradient`` that left the trace.
            trace: of that call.
            direction: v.
            weights: whether to differentiate by the vector too.

        Returns:
            The gradient by the images (n, C, S, S); that by the vector (P,), or 0 without ``weights``; and g'v ().
        """
        parameters, directions, dx, changes = self._parts(vector), self._parts(direction), None, []
        layers = list(zip(self.layers, parameters, directions, trace.kept, strict=True))
        for layer, p, dp, left in layers:
            changes.append(dx)
            dx = layer.change(p, dp, left, dx)
        by_logits = trace.gradients[-1]
        assert dx is not None and by_logits is not None
        value, by_parameters = (by_logits * dx).sum(), []
        s = trace.chances * (dx - (trace.chances * dx).sum(1, keepdim=True)) / len(dx)
        for (layer, p, dp, left), change, g in zip(
            reversed(layers), reversed(changes), reversed(trace.gradients), strict=True
        ):
            s, own = layer.second(p, dp, left, change, g, s, weights)
            by_parameters.append(own)
        return s, self._vector(by_parameters) if weights else 0, value

    def _parts(self, vector: Tensor) -> list[Pair]:
        """Returns weight and bias of each layer as views of the vector."""
        parts = iter(vector.split(self.sizes))
        # kernels in the layout of the maps, once for all convolutions that take them
        return [tuple(_last(next(parts).view(shape)) for shape in shapes) for shapes in self.shapes]

    @staticmethod
    def _vector(by_parameters: list[Pair]) -> Tensor:
        """Joins the gradients by the layers' parameters, the last layer's first, to a vector (P,)."""
        return torch.cat([each.reshape(-1) for pair in reversed(by_parameters) for each in pair])


class _Conv:
    """A convolution of stride 1; the first of a network has few channels and images that do not change."""

    def __init__(self, padding: int, first: bool) -> None:
        self.padding, self.first = padding, first

    def forward(self, p: Pair, x: Tensor) -> tuple[Tensor, Tensor]:
        return F.conv2d(x, p[0], p[1], padding=self.padding), x

    def backward(self, p: Pair, x: Tensor, g: Tensor, weights: bool) -> tuple[Tensor, Pair]:
        if self.first and not weights:
            return x, ()  # nothing before it asks
        by_x, by_weight = self._back(g, x, p[0], (not self.first, weights))
        return by_x, (by_weight, g.sum((0, 2, 3))) if weights else ()

    def change(self, p: Pair, dp: Pair, x: Tensor, dx: Tensor | None) -> Tensor:
        if dx is None:
            return F.conv2d(x, dp[0], dp[1], padding=self.padding)
        return F.conv2d(torch.cat([x, dx], 1), torch.cat([dp[0], p[0]], 1), dp[1], padding=self.padding)

    def second(
        self, p: Pair, dp: Pair, x: Tensor, dx: Tensor | None, g: Tensor, s: Tensor, weights: bool
    ) -> tuple[Tensor, Pair]:
        both, kernels = torch.cat([s, g], 1), torch.cat([p[0], dp[0]])
        by_x = self._few(both, x, kernels) if self.first else self._back(both, x, kernels, (True, False))[0]
        if not weights:
            return by_x, ()
        if dx is None:
            by_weight = self._back(s, x, p[0], (False, True))[1]
        else:
            by_weight = self._back(torch.cat([s, g]), torch.cat([x, dx]), p[0], (False, True))[1]
        return by_x, (by_weight, s.sum((0, 2, 3)))

    def _back(self, g: Tensor, x: Tensor, weight: Tensor, by: tuple[bool, bool]) -> tuple[Tensor, Tensor]:
        """Returns the gradients by input and weight; ``by``: which of the two are computed."""
        padding = [self.padding, self.padding]
        return torch.ops.aten.convolution_backward(
            g, x, weight, None, [1, 1], padding, [1, 1], False, [0, 0], 1, [*by, False]
        )[:2]

    def _few(self, g: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """Returns the gradient by an input of few channels, for which oneDNN takes ten times as long as a product."""
        columns = g.permute(0, 2, 3, 1).flatten(1, 2) @ weight.flatten(1)  # the layout makes it no copy
        return F.fold(columns.transpose(1, 2), x.shape[2:], weight.shape[2:], padding=self.padding)


class _Linear:
    """The classifier, on flattened maps."""

    def forward(self, p: Pair, x: Tensor) -> tuple[Tensor, Tensor]:
        return F.linear(x.flatten(1), p[0], p[1]), x

    def backward(self, p: Pair, x: Tensor, g: Tensor, weights: bool) -> tuple[Tensor, Pair]:
        return self._like(g @ p[0], x), (g.t() @ x.flatten(1), g.sum(0)) if weights else ()

    def change(self, p: Pair, dp: Pair, x: Tensor, dx: Tensor) -> Tensor:
        return F.linear(x.flatten(1), dp[0], dp[1]) + dx.flatten(1) @ p[0].t()

    def second(
        self, p: Pair, dp: Pair, x: Tensor, dx: Tensor, g: Tensor, s: Tensor, weights: bool
    ) -> tuple[Tensor, Pair]:
        by_x = self._like(s @ p[0] + g @ dp[0], x)
        return by_x, (s.t() @ x.flatten(1) + g.t() @ dx.flatten(1), s.sum(0)) if weights else ()

    @staticmethod
    def _like(flat: Tensor, x: Tensor) -> Tensor:
        """Returns flat maps in the shape and layout of ``x``."""
        return _last(flat.view(x.shape))


class _Norm:
    """Instance norm: y = w z + b with z = (x - mean) r, r = 1 / deviation. A bar is the mean over pixels."""

    def __init__(self, eps: float) -> None:
        self.eps = eps

    def forward(self, p: Pair, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        count, channels, *side = x.shape
        y, mean, r = torch.native_group_norm(x, p[0], p[1], count, channels, side[0] * side[1], channels, self.eps)
        r = r[:, :, None, None]
        return y, (torch.addcmul(-mean[:, :, None, None] * r, x, r), r)

    def backward(self, p: Pair, kept: tuple[Tensor, Tensor], g: Tensor, weights: bool) -> tuple[Tensor, Pair]:
        z, r = kept
        mean, along, scale = _mean(g), _mean(g * z), _wide(p[0]) * r
        by_x = torch.addcmul(-scale * mean, z, -scale * along).addcmul_(g, scale)
        return by_x, (_total(along, z), _total(mean, z)) if weights else ()

    def change(self, p: Pair, dp: Pair, kept: tuple[Tensor, Tensor], dx: Tensor) -> Tensor:
        z, r = kept
        scale = _wide(p[0]) * r
        return torch.addcmul(_wide(dp[1]) - scale * _mean(dx), z, _wide(dp[0]) - scale * _mean(dx * z)).addcmul_(
            dx, scale
        )

    def second(
        self, p: Pair, dp: Pair, kept: tuple[Tensor, Tensor], dx: Tensor, g: Tensor, s: Tensor, weights: bool
    ) -> tuple[Tensor, Pair]:
        z, r = kept
        w, dw = _wide(p[0]), _wide(dp[0])
        g_mean, g_along, dx_mean, dx_along = _mean(g), _mean(g * z), _mean(dx), _mean(dx * z)
        s_mean, s_along = _mean(s), _mean(s * z)
        inner = _mean(g * dx) - g_mean * dx_mean - g_along * dx_along  # of g with dz, over r
        # dz = r (dx - mean of dx - z mean of z dx), and by x: dr = -r² z / n, dz = r (1 - 1/n - z z'/n)
        square, scale = w * r.square(), w * r
        of_z = square * (2 * g_along * dx_along - inner) - dw * r * g_along - scale * s_along
        of_g, of_dx = dw * r - square * dx_along, -square * g_along
        rest = -of_g * g_mean - of_dx * dx_mean - scale * s_mean
        by_x = torch.addcmul(rest, z, of_z).addcmul_(g, of_g).addcmul_(dx, of_dx).addcmul_(s, scale)
        return by_x, (_total(r * inner + s_along, z), _total(s_mean, z)) if weights else ()


class _Relu:
    """ReLU: where it put out 0, changes and gradients are 0 too."""

    def forward(self, p: Pair, x: Tensor) -> tuple[Tensor, Tensor]:
        y = x.relu_()  # in place: no layer before it keeps what it put out
        return y, y

    def backward(self, p: Pair, y: Tensor, g: Tensor, weights: bool) -> tuple[Tensor, Pair]:
        return torch.ops.aten.threshold_backward(g, y, 0), ()

    def change(self, p: Pair, dp: Pair, y: Tensor, dx: Tensor) -> Tensor:
        return torch.ops.aten.threshold_backward(dx, y, 0)

    def second(
        self, p: Pair, dp: Pair, y: Tensor, dx: Tensor, g: None, s: Tensor, weights: bool
    ) -> tuple[Tensor, Pair]:
        return self.backward(p, y, s, weights)


class _Pool:
    """Average pooling by 2: linear, without parameters."""

    def forward(self, p: Pair, x: Tensor) -> tuple[Tensor, torch.Size]:
        return F.avg_pool2d(x, 2), x.shape

    def backward(self, p: Pair, shape: torch.Size, g: Tensor, weights: bool) -> tuple[Tensor, Pair]:
        x = torch.empty(shape, dtype=g.dtype, device=g.device, memory_format=torch.channels_last)  # for its shape alone
        return torch.ops.aten.avg_pool2d_backward(g, x, [2, 2], [2, 2], [0, 0], False, True, None), ()

    def change(self, p: Pair, dp: Pair, shape: torch.Size, dx: Tensor) -> Tensor:
        return F.avg_pool2d(dx, 2)

    def second(
        self, p: Pair, dp: Pair, shape: torch.Size, dx: Tensor, g: None, s: Tensor, weights: bool
    ) -> tuple[Tensor, Pair]:
        return self.backward(p, shape, s, weights)


def _layer(module: nn.Module, first: bool) -> _Conv | _Linear | _Norm | _Relu | _Pool:
    """Returns the functions of a module."""
    if isinstance(module, nn.Conv2d):
        assert not isinstance(module.padding, str)
        return _Conv(module.padding[0], first)
    if isinstance(module, InstanceNorm):
        return _Norm(module.eps)
    return {nn.Linear: _Linear, nn.ReLU: _Relu, nn.AvgPool2d: _Pool}[type(module)]()


def _last(x: Tensor) -> Tensor:
    """Returns maps or kernels with channels last in memory, where PyTorch's poolings and convolutions are fast."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def _wide(per_channel: Tensor) -> Tensor:
    return per_channel.view(1, -1, 1, 1)


def _mean(maps: Tensor) -> Tensor:
    """Returns the mean over pixels (n, C, 1, 1)."""
    return maps.mean((2, 3), keepdim=True)


def _total(mean: Tensor, maps: Tensor) -> Tensor:
    """Returns the sum over images and pixels (C,) of what has the given mean over the pixels of ``maps``."""
    return mean.sum((0, 2, 3)) * (maps.shape[2] * maps.shape[3])
