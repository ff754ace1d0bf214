"""Batch norms over parts of the batch, as if each part were on a GPU of its own (MoCo's CIFAR-10 demo).

MoCo shuffles keys among GPUs, so that a query and its key are normalised by different statistics; else the network
could recognise a key by the statistics instead of the image (MoCo, section 3.3). Parts have the same effect on one GPU.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from distillation.networks.build import Network


class SplitBatchNorm(nn.BatchNorm2d):
    """A batch norm that normalises each of ``parts`` parts of a batch by its own statistics in training.

    Image i belongs to part i modulo ``parts``. Running statistics are kept for each part, as vectors (parts * C,), part
    by part; in eval mode all images are normalised by their means over the parts. ``lightly.models.batchnorm`` has a
    layer of the same name and rule, without a form for torch.compile.

    Args:
        channels: number of channels C.
        parts: number of parts, which has to divide the images of each batch.
    """

    running_mean: Tensor
    running_var: Tensor
    momentum: float  # pyright: ignore[reportIncompatibleVariableOverride]: always torch's default here

    def __init__(self, channels: int, parts: int) -> None:
        super().__init__(channels)
        self.parts = parts
        mean, variance = self.running_mean.repeat(parts), self.running_var.repeat(parts)
        self.running_mean = mean  # pyright: ignore[reportIncompatibleVariableOverride]: always tracked here
        self.running_var = variance  # pyright: ignore[reportIncompatibleVariableOverride]: as above

    def means(self) -> tuple[Tensor, Tensor]:
        """Returns the running mean and the running variance, both (C,), averaged over the parts."""
        mean, variance = (values.view(self.parts, -1).mean(0) for values in (self.running_mean, self.running_var))
        return mean, variance

    def forward(self, images: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]: a clearer name
        """Normalises images (N, C, H, W); in training ``parts`` divides N."""
        if not self.training:
            return F.batch_norm(images, *self.means(), self.weight, self.bias, eps=self.eps)
        if torch.compiler.is_compiling():
            return self._written_out(images)
        # N = n * parts images of C channels are n images of parts * C channels in the same memory: one batch norm for
        # all.
        parts_as_channels = images.reshape(-1, self.parts * self.num_features, *images.shape[2:])
        learnt = self.weight.repeat(self.parts), self.bias.repeat(self.parts)
        running = self.running_mean, self.running_var
        return F.batch_norm(parts_as_channels, *running, *learnt, True, self.momentum, self.eps).view_as(images)

    def _written_out(self, images: Tensor) -> Tensor:
        """Computes the same by single operations, for torch.compile.

        With parts as channels it would transpose the maps around every norm.
        """
        apart = images.unflatten(0, (-1, self.parts))
        variance, mean = torch.var_mean(apart.to(self.weight.dtype), (0, 3, 4), correction=0, keepdim=True)
        count = apart[:, 0, 0].numel()
        with torch.no_grad():
            self.running_mean.lerp_(mean.flatten(), self.momentum)
            # Like torch, normalise by the variance of the batch, but record the unbiased one.
            self.running_var.lerp_(variance.flatten() * (count / (count - 1)), self.momentum)
        scale = torch.rsqrt(variance + self.eps) * self.weight.view(-1, 1, 1)
        return ((apart - mean) * scale + self.bias.view(-1, 1, 1)).to(images.dtype).flatten(0, 1)


def split(network: "Network", parts: int) -> "Network":
    """Replaces every 2-d batch norm of the network by a SplitBatchNorm, in place, and returns the network.

    Weights and biases stay (a residual block's last scale may begin at 0); each part starts with the statistics of the
    whole.
    """
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            part_norm, state = SplitBatchNorm(module.num_features, parts), module.state_dict()
            for key in ("running_mean", "running_var"):
                state[key] = state[key].repeat(parts)
            part_norm.load_state_dict(state)
            network.set_submodule(name, part_norm)
    return network


def whole(network: "Network") -> "Network":
    """Undoes ``split`` in place and returns the network: running statistics become their means over the parts."""
    for name, module in list(network.named_modules()):
        if isinstance(module, SplitBatchNorm):
            state = module.state_dict() | dict(zip(("running_mean", "running_var"), module.means(), strict=True))
            norm = nn.BatchNorm2d(module.num_features, device=module.weight.device)
            norm.load_state_dict(state)
            network.set_submodule(name, norm)
    return network
