"""DM: distribution matching (Zhao and Bilen, WACV 2023).

Each iteration draws a fresh random network and moves the synthetic images so that, class by class, the mean feature
of their siamese-augmented copies meets that of a batch of real images (equation 6):

    L = sum_c || mean psi(A_c(T_c)) - mean psi(A_c(S_c)) ||^2

psi is the network without its classifier, T_c and S_c are the real and the synthetic images of class c, and A_c is the
augmentation drawn for the class and the iteration. The networks are never trained.

All classes pass together, in chunks: per-class means are taken afterwards. Networks with BatchNorm see all real images
in one batch and all synthetic ones in another, in train mode, as the official code does.
"""

import torch
from pydantic import Field
from torch import Tensor

from distillation.augment.siamese import apply, draw
from distillation.bounds import Count, Positive
from distillation.methods.base import Common, ImageMethod, Problem, StepResult
from distillation.methods.cost import Cost, Outline
from distillation.networks.build import has_features, initialise
from distillation.params import Section
from distillation.runtime.errors import BadInput


class Settings(Section):
    """The settings of DM.

    Attributes:
        iterations: updates of the images.
        lr_img: learning rate of the images.
        momentum: of the SGD on the images.
        batch_real: real images of each class in an update, or as many as the class has.
    """

    iterations: Count
    lr_img: Positive
    momentum: float = Field(ge=0, lt=1)
    batch_real: Count


class DM(ImageMethod[Settings]):
    """Distribution matching; one unit of work is an update of the images.

    Raises:
        BadInput: ``method.network`` has no features before its classifier.

    Attributes:
        sizes: number of real images of each class in an update.
        network: the network, with new random weights in each update, never trained.
        whole_batch: whether it has batch norms, so that all images must pass at once and ``method.chunk`` is not used.
    """

    matches_features = True

    def __init__(self, problem: Problem, settings: Settings) -> None:
        super().__init__(problem, settings)
        self.total = settings.iterations
        self.optimizer = torch.optim.SGD([self.images], settings.lr_img, settings.momentum)
        self.sizes = problem.batch_sizes(settings.batch_real)
        problem.note_short(settings.batch_real)
        self.network = problem.network(problem.draws("network")).requires_grad_(False)
        if not has_features(self.network):
            raise BadInput(f"method.network is {problem.settings.network}, which has no features that DM could match.")
        self.whole_batch = any(isinstance(m, torch.nn.BatchNorm2d) for m in self.network.modules())
        self.embed = problem.graphed(self.network.embed)

    def advance(self) -> StepResult:
        """Sets ``images.grad`` to the gradient of L under a fresh random network; metric ``loss`` is L / classes."""
        problem, draws = self.problem, self.problem.draws("iteration", self.at)
        problem.begin_step()
        initialise(self.network, draws)  # in place: a compiled network need not be compiled again
        real = problem.real(torch.cat(problem.batch(self.settings.batch_real, draws)))
        augmentation = draw(problem.strategy, problem.classes, 1, draws)
        with torch.no_grad():
            targets = self._means(real, self.sizes, *augmentation)
        synthetic = self._means(self.images, [problem.settings.ipc] * problem.classes, *augmentation)
        loss = (targets - synthetic).square().sum()
        (self.images.grad,) = torch.autograd.grad(loss, self.images)
        self.at += 1
        return StepResult(image_grad_ready=True, metrics={"loss": loss.detach() / problem.classes})

    def _means(self, images: Tensor, sizes: list[int], ops: Tensor, numbers: Tensor) -> Tensor:
        """Returns mean features (classes, F) of images, each class under its one augmentation.

        Args:
            images: (N, C, S, S) in the order of their classes.
            sizes: number of images of each class.
            ops: (classes,) int64, operation of each class, as ``siamese.draw`` returns them.
            numbers: (classes, 1, P) its parameters, numbers in [0, 1).
        """
        place = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))  # the class of each image
        augmented = apply(images, self.problem.strategy, ops[place], numbers[place, 0])
        features = self.problem.features(self.embed, augmented, len(images) if self.whole_batch else None).float()
        # classes of equal size, the usual case, in one operation
        if len(set(sizes)) == 1:
            return features.view(self.problem.classes, sizes[0], -1).mean(1)
        return torch.stack([part.mean(0) for part in features.split(sizes)])

    def cost(self) -> Cost:
        """Counts the passes of the updates so far."""
        return _cost(self.problem.forward_flops(), self.at, sum(self.sizes), len(self.images))

    @classmethod
    def holds(cls, common: Common, settings: Settings, outline: Outline) -> dict[str, float]:
        """Counts also the network, and a chunk of the images passing through it."""
        chunk = min(common.chunk, common.ipc * outline.classes)
        more = {"network": outline.weights(common.network), "chunk": chunk * outline.activations(common.network)}
        return {**super().holds(common, settings, outline), **more}

    @classmethod
    def estimate(cls, common: Common, settings: Settings, outline: Outline) -> Cost:
        """Estimates the passes of all updates."""
        real, synthetic = (count * outline.classes for count in (settings.batch_real, common.ipc))
        return _cost(outline.flops(common.network), settings.iterations, real, synthetic)


def _cost(flops: int, updates: int, real: int, synthetic: int) -> Cost:
    """Returns the Cost of updates that pass ``real`` images forwards and ``synthetic`` ones both ways."""
    return Cost.of_passes(flops, updates * (real + synthetic), updates * synthetic)


METHOD = DM
