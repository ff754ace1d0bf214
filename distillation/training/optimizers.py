"""What checkpoints hold of an optimiser, and the setting of its learning rate; shared by all training loops."""

from torch.optim import Optimizer


def optimizer_state(optimizer: Optimizer) -> dict:
    """Returns the state of each parameter (such as its momentum) by the parameter's number in the optimiser.

    The optimiser's settings are left out, since they come from params.yaml; a learning rate that a schedule has set
    must be stored apart or set anew.
    """
    return optimizer.state_dict()["state"]


def restore_optimizer(optimizer: Optimizer, state: dict) -> None:
    """Loads an ``optimizer_state`` into an optimiser of the same parameters in the same order, in place."""
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Sets the learning rate of all parameters, from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = rate
