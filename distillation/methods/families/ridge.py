"""Kernel ridge regression in closed form.

``solve`` takes any kernel (FRePo, KIP), ``predictions`` features (KRR-ST): with products of features as its kernel the
regression is the last linear layer of a network, fitted to the synthetic images at once.
"""

import torch
from torch import Tensor

from distillation.runtime.errors import Diverged


def predictions(synthetic: Tensor, targets: Tensor, real: Tensor, ridge: float) -> Tensor:
    """Predicts the targets of ``real`` features by ridge regression from ``synthetic`` ones; differentiable.

        K_ts (K_ss + λ I)^-1 Y    K = φ φ' of features with a constant 1 appended,  λ = ridge · trace K_ss, no gradient

    The indices s and t are the synthetic and the real images, Y the targets. The constant is the bias of the linear
    layer. λ is a constant for differentiation, although it is computed from the features.

    In float64 throughout, whatever the features came in: K_ss is conditioned as badly as 1 / ridge. In float32 the gradient
    of 1,000 images came out wrong by 0.9 %, with float64 for the solve alone by 0.2 %.

    Args:
        synthetic: features φ_s (M, F) of any floating type.
        targets: Y (M, D).
        real: features φ_t (N, F).
        ridge: λ relative to the trace, at least 0.

    Returns:
        Predicted targets (N, D) float64.

    Raises:
        Diverged: the kernel is singular, or not finite.
    """
    synthetic, targets, real = synthetic.double(), targets.double(), real.double()
    kernel = synthetic @ synthetic.T + 1
    return (real @ synthetic.T + 1) @ solve(kernel, targets, ridge * kernel.detach().trace(), ridge)


def solve(kernel: Tensor, targets: Tensor, weight: Tensor, ridge: float) -> Tensor:
    """Solves (K + λ I) X = Y by a Cholesky factorisation; differentiable by all three.

    Args:
        kernel: K, (M, M) float64, symmetric and positive semidefinite.
        targets: Y, (M, D) float64.
        weight: λ, a Tensor () on the kernel's device.
        ridge: the setting that λ was computed from, for the message alone.

    Returns:
        X, (M, D) float64.

    Raises:
        Diverged: the kernel is singular, or not finite.
    """
    # cholesky_ex reports a failure as a number, so that this error can name the setting to change. A factorisation
    # whose smallest pivot is of the size of rounding errors does not fail, but its solution would be noise.
    factor, fault = torch.linalg.cholesky_ex(kernel + torch.diag(weight.expand(len(kernel))))
    pivots, rounding = factor.diagonal().square(), len(kernel) * torch.finfo(kernel.dtype).eps
    sound = bool(pivots.min() > rounding * kernel.diagonal().max())  # False also where either is not a number
    if int(fault) or not sound:
        raise Diverged(
            f"the kernel of {len(kernel)} images is singular or not finite at ridge {ridge:g}: a larger ridge or a smaller "
            "learning rate is wanted."
        )
    return torch.cholesky_solve(targets, factor)
