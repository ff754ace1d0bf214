"""What an optimiser keeps between two steps, so that training can stop and go on, and its learning rate."""

from torch.optim import Optimizer


def optimizer_state(optimizer: Optimizer) -> dict:
    """The state of every parameter by its number; settings, which the parameters of a run give, are left out."""
    return optimizer.state_dict()["state"]


def restore_optimizer(optimizer: Optimizer, state: dict) -> None:
    """Gives an optimiser of the same parameters the ``optimizer_state`` of an earlier one."""
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Sets the learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = rate
