"""The state of an optimiser between two steps, so that training can be interrupted, and its learning rate."""

from torch.optim import Optimizer


def optimizer_state(optimizer: Optimizer) -> dict:
    """The state of each parameter by its number, without the settings, which come from params.yaml."""
    return optimizer.state_dict()["state"]


def restore_optimizer(optimizer: Optimizer, state: dict) -> None:
    """Loads an ``optimizer_state`` into an optimiser of the same parameters."""
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Sets the learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = rate
