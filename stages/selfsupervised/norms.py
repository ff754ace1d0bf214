"""Batch norms that see a part of the batch each, as if the parts were on different machines (MoCo's CIFAR-10 demo)."""

from torch import nn


def split(network, parts):
    """The network with every batch norm of its maps made to normalise ``parts`` of a batch apart, in place.

    Weights and biases stay as they were (a residual block's last may begin at 0), and each part has the statistics.
    """
    from lightly.models.batchnorm import SplitBatchNorm

    for name, module in list(network.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            made, state = SplitBatchNorm(module.num_features, parts), module.state_dict()
            for key in ("running_mean", "running_var"):
                state[key] = state[key].repeat(parts)
            made.load_state_dict(state)
            network.set_submodule(name, made)
    return network


def whole(network):
    """``split`` undone, in place: running statistics become their means over the parts."""
    for name, module in list(network.named_modules()):
        if parts := getattr(module, "num_splits", 0):
            state = module.state_dict()
            for key in ("running_mean", "running_var"):
                state[key] = state[key].view(parts, -1).mean(0)
            made = nn.BatchNorm2d(module.num_features, device=module.weight.device)
            made.load_state_dict({**made.state_dict(), **state})
            network.set_submodule(name, made)
    return network
