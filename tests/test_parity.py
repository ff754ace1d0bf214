"""What the published methods are made of, held against the libraries and closed forms that define it.

What only the official code of a paper can tell is in docs/parity.md.
"""

import copy
import math

import numpy as np
import pytest
import scipy
import torch
import torch.nn.functional as F
from lightly.loss import BarlowTwinsLoss, DINOLoss, NTXentLoss, SwaVLoss
from lightly.utils.lars import LARS
from lightly.utils.scheduler import cosine_schedule, cosine_warmup_schedule
from scipy import ndimage, stats
from sklearn.metrics.pairwise import polynomial_kernel
from torch import nn
from torchvision import models
from torchvision.transforms import RandomResizedCrop, v2
from torchvision.transforms.v2 import functional as transforms

from distillation.augment import crops, siamese
from distillation.augment.standard import crop_flip
from distillation.augment.views import View, ViewSettings, draw, show
from distillation.datasets import normalise
from distillation.evaluation.assess.features import kernel_distance
from distillation.methods import kip
from distillation.methods.families.recover import BatchNormMonitor, variation
from distillation.methods.families.ridge import predictions, solve
from distillation.networks.build import Network, build
from distillation.runtime.random import generator, seeded
from distillation.teachers.foreign.layouts import renamed
from distillation.teachers.objectives.moco_v3 import MoCo
from distillation.teachers.selfsupervised.loop import Loop
from distillation.teachers.selfsupervised.model import Moment, towards_one
from distillation.teachers.selfsupervised.optimizers import Lars, rate
from distillation.training.losses import divergence, loss_of
from distillation.training.schedules import cosine, stepped
from distillation.training.settings import LessonSettings
from tests.helpers.data import ramp_set
from tests.helpers.parameters import product_params
from tests.helpers.selfsupervised import WORD, pool_settings_of

torch.set_num_threads(1)
STRATEGY = "color_crop_cutout_flip_scale_rotate"


def draws(*names: str | int) -> torch.Generator:
    return generator(0, "parity", *names)


def normal(*shape: int, name: str = "x") -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=draws(name))


# Networks


def torchvisions(name: str, size: int) -> nn.Module:
    """A ResNet of torchvision with statistics that no other has; below 128 pixels with the stem that SRe2L gives it."""
    with seeded(draws(name, size)):
        network = models.get_model(name, num_classes=7)
        if size < 128:
            network.conv1, network.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.1, 0.1)
                nn.init.uniform_(module.running_var, 0.9, 1.1)
                nn.init.uniform_(module.weight, 0.9, 1.1)
                nn.init.uniform_(module.bias, -0.1, 0.1)
    return network.double()


def with_its_weights(theirs: nn.Module, word: str, size: int) -> Network:
    ours = build(word, 3, size, 7, draws("ours")).double()
    ours.load_state_dict(renamed(theirs.state_dict())[1])
    return ours


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize(
    ("word", "name", "size"),
    [("ResNet18BN", "resnet18", 224), ("ResNet18BN", "resnet18", 32), ("ResNet50BN", "resnet50", 64)],
)
def test_a_resnet_is_torchvisions(word, name, size, training):
    theirs = torchvisions(name, size)
    ours = with_its_weights(theirs, word, size)
    images = normal(2, 3, size, size)
    passed = []
    for network in (theirs.train(training), ours.train(training)):
        leaf = images.clone().requires_grad_()
        logits = network(leaf)
        F.cross_entropy(logits, torch.tensor([1, 4])).backward()
        passed.append((logits.detach(), leaf.grad))
    for given, wanted in zip(passed[1], passed[0], strict=True):
        torch.testing.assert_close(given, wanted, rtol=1e-9, atol=1e-12)
    for name, wanted in renamed(theirs.state_dict())[1].items():
        torch.testing.assert_close(ours.state_dict()[name], wanted)  # the running statistics too


def test_the_statistics_that_recovery_meets_are_those_that_torch_would_run():
    """A batch norm with momentum 1 takes over the batch's mean and its unbiased variance."""
    theirs = torchvisions("resnet18", 32)
    images = normal(6, 3, 32, 32)
    _, deviation = BatchNormMonitor(with_its_weights(theirs, "ResNet18BN", 32).eval(), 10.0)(images)
    before, sizes, wanted = copy.deepcopy(theirs), {}, 0.0
    norms = {name: module for name, module in theirs.eval().named_modules() if isinstance(module, nn.BatchNorm2d)}
    for name, module in norms.items():
        # in train mode a norm would change what later ones see: each is measured by its own input in eval mode
        def measure(norm, inputs, name=name):
            twin = nn.BatchNorm2d(norm.num_features, momentum=1.0).double()
            twin(inputs[0])
            sizes[name] = twin, inputs[0][:, 0].numel()

        module.register_forward_pre_hook(measure)
    theirs(images)
    for place, (name, (twin, count)) in enumerate(sizes.items()):
        own = before.get_submodule(name)
        variance = twin.running_var * (count - 1) / count
        apart = (twin.running_mean - own.running_mean).norm() + (variance - own.running_var).norm()
        wanted += (10.0 if place == 0 else 1.0) * apart
    assert len(sizes) == 20
    torch.testing.assert_close(deviation, wanted)


def test_the_total_variation_is_that_of_four_convolutions():
    images = normal(3, 3, 9, 9)
    kernels = {"right": [[-1, 1]], "below": [[-1], [1]], "falling": [[-1, 0], [0, 1]], "rising": [[0, 1], [-1, 0]]}
    wanted = 0.0
    for kernel in kernels.values():
        weight = np.array(kernel, dtype=float)[None, None]
        wanted += np.linalg.norm(scipy.signal.correlate(images.numpy(), weight, mode="valid"))
    assert float(variation(images)) == pytest.approx(wanted, rel=1e-12)


# Augmentation


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup_is_torchvisions(alpha):
    images, weight = normal(6, 3, 16, 16), torch.tensor(0.3, dtype=torch.float64)
    settings = ViewSettings(augment="none", crop=0.08, mix="mixup", alpha=alpha)
    view = draw(6, 16, settings, True, draws("mixup"))
    rolled = View(**{**vars(view), "partners": torch.arange(6).roll(1), "weight": weight})
    labels = torch.arange(6) % 3
    params = {"labels": labels, "batch_size": 6, "lam": float(weight)}
    theirs = v2.MixUp(alpha=alpha, num_classes=3)
    torch.testing.assert_close(show(images, rolled), theirs.transform(images, params))
    # the teacher's loss on the mixture is that of mixed labels, as the cross-entropy is linear in them
    logits, mixed = normal(6, 3, name="logits"), theirs.transform(labels, params).double()
    wanted = weight * F.cross_entropy(logits, labels) + (1 - weight) * F.cross_entropy(logits, labels.roll(1))
    torch.testing.assert_close(loss_of("ce")(logits, mixed), wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_cutmix_is_torchvisions(seed):
    images = normal(6, 3, 16, 16).float()
    view = draw(
        6, 16, ViewSettings(augment="none", crop=0.08, mix="cutmix", alpha=1.0), True, generator(seed, "cutmix")
    )
    top, left, bottom, right = view.window.tolist()
    rolled = View(**{**vars(view), "partners": torch.arange(6).roll(1)})
    params = {"labels": torch.zeros(6, dtype=torch.int64), "batch_size": 6, "box": (left, top, right, bottom)}
    assert torch.equal(show(images, rolled), v2.CutMix(num_classes=3).transform(images, params))


def test_random_resized_crops_are_distributed_as_torchvisions():
    count, size, image = 3000, 32, torch.zeros(3, 32, 32)
    with seeded(draws("theirs")):
        theirs = [RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(count)]
    ours = crops.resized(count, size, (0.08, 1.0), draws("ours"))
    for column in range(4):  # top, left, height, width
        test = stats.ks_2samp(ours[:, column], [box[column] for box in theirs])
        assert test.pvalue > 0.01


def test_crop_and_mirror_are_torchvisions():
    """The draws are taken from the same generator; torchvision pads, crops and mirrors by them."""
    images, pad = normal(8, 3, 16, 16), 4
    ours = crop_flip(images, draws("crop"), True, pad)
    again = draws("crop")
    down, right = torch.randint(-pad, pad + 1, (2, 8), generator=again).tolist()
    mirror = torch.rand(8, generator=again) < 0.5
    assert 0 < int(mirror.sum()) < 8
    for image, made, x, y, flipped in zip(images, ours, right, down, mirror, strict=True):
        image = transforms.hflip(image) if flipped else image
        wanted = transforms.crop(transforms.pad(image, [pad] * 4), y + pad, x + pad, 16, 16)
        assert torch.equal(made, wanted)


@pytest.mark.parametrize("size", [16, 33])
def test_siamese_scaling_and_rotation_are_scipys(size):
    """Bilinear, about the centre, 0 outside: scipy's affine transformation of order 1."""
    images, u = normal(6, 3, size, size), torch.rand(6, siamese.NUMBERS, generator=draws("u"), dtype=torch.float64)
    middle = np.full(2, (size - 1) / 2)
    for word in ("scale", "rotate"):
        made = siamese.apply(images, word, torch.zeros(6, dtype=torch.int64), u)
        for image, row, result in zip(images.numpy(), u.tolist(), made, strict=True):
            if word == "scale":
                x, y = (each * (1.2 - 1 / 1.2) + 1 / 1.2 for each in row[:2])
                matrix = np.diag([y, x])
            else:
                angle = math.radians(15) * (2 * row[0] - 1)
                matrix = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
            for channel, found in zip(image, result, strict=True):
                wanted = ndimage.affine_transform(
                    channel, matrix, middle - matrix @ middle, order=1, mode="grid-constant"
                )
                np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_siamese_parameters_reach_the_published_ranges_and_no_further():
    """At the least and the greatest draw: the published ratios of DSA, in the numbers that they make of one image."""
    size, least, most = 32, torch.zeros(1, siamese.NUMBERS), torch.full((1, siamese.NUMBERS), 1 - 2**-24)
    middle = torch.full((1, siamese.NUMBERS), 0.5)
    image = torch.rand(1, 3, size, size, generator=draws("image"))

    def changed(word, u, x=image):
        return siamese.apply(x, word, torch.zeros(1, dtype=torch.int64), u)

    def only(column, u):
        """The numbers in the middle but for one column."""
        return torch.cat([(u if i == column else middle)[:, i : i + 1] for i in range(siamese.NUMBERS)], 1)

    grey = image.mean(1, keepdim=True).expand_as(image)
    for u, brightness, saturation, contrast in ((least, -0.5, 0.0, 0.5), (most, 0.5, 2.0, 1.5)):
        torch.testing.assert_close(changed("color", only(0, u)), image + brightness, atol=1e-5, rtol=0)
        wanted = grey + saturation * (image - grey)
        torch.testing.assert_close(changed("color", only(1, u)), wanted, atol=1e-5, rtol=0)
        wanted = image.mean() + contrast * (image - image.mean())
        torch.testing.assert_close(changed("color", only(2, u)), wanted, atol=1e-5, rtol=0)
    for u, move in ((least, -4), (most, 4)):  # an eighth of 32 pixels
        wanted = transforms.crop(image, move, move, size, size)
        assert torch.equal(changed("crop", u), wanted)
    ones = torch.ones(1, 1, size, size)
    assert [int((changed("cutout", u, ones) == 0).sum()) for u in (least, middle, most)] == [64, 256, 64]
    assert torch.equal(changed("flip", least), image.flip(3)) and torch.equal(changed("flip", middle), image)


# The space of inputs, kernels and regression


def test_zca_is_scipys_principal_components_rescaled():
    images = torch.randint(0, 256, (300, 3, 4, 4), dtype=torch.uint8, generator=draws("zca"))
    space = normalise.whitening(images)
    rows = images.flatten(1).double().numpy() / 255
    values, vectors = scipy.linalg.eigh(np.cov(rows, rowvar=False))
    wanted = (rows - rows.mean(0)) @ (vectors / np.sqrt(values + 0.1)) @ vectors.T
    np.testing.assert_allclose(space.encode(images.float() / 255).flatten(1), wanted, atol=2e-5)


def inputs(*angles: float) -> torch.Tensor:
    """Points of the plane at angles (degrees) whose first covariance, 2/d x·z, is the cosine between them."""
    radians = torch.tensor(angles, dtype=torch.float64).deg2rad()
    return torch.stack([radians.cos(), radians.sin()], 1)


def layers(theta: float) -> tuple[float, float]:
    """(E relu relu, E step step) of two unit normals at an angle, by quadrature: in polar coordinates the radius goes apart."""

    def relus(phi):
        return max(math.cos(phi), 0) * max(math.cos(phi - theta), 0) / math.pi

    def steps(phi):
        return float(math.cos(phi) > 0 and math.cos(phi - theta) > 0) / (2 * math.pi)

    over = {
        "a": -math.pi,
        "b": math.pi,
        "points": [theta - math.pi / 2, math.pi / 2],
    }  # both are positive between these
    return scipy.integrate.quad(relus, **over)[0], scipy.integrate.quad(steps, **over)[0]


@pytest.mark.parametrize("angle", [10.0, 60.0, 90.0, 135.0, 170.0])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_neural_tangent_kernel_is_built_of_the_arc_cosine_kernels(monkeypatch, angle, depth):
    """The kernels of Cho and Saul (2009) of orders 1 and 0 by quadrature, put together as Jacot et al. (2018) do."""
    monkeypatch.setattr(kip, "BIASES", 0.0)
    cosine_between, kernel = math.cos(math.radians(angle)), math.cos(math.radians(angle))
    for _ in range(depth):
        relus, steps = layers(math.acos(cosine_between))
        cosine_between, kernel = 2 * relus, 2 * relus + kernel * 2 * steps
    assert float(kip.ntk(inputs(0.0), inputs(angle), depth)) == pytest.approx(kernel, abs=1e-7)


def test_the_arc_cosine_kernels_have_their_closed_values(monkeypatch):
    """Of order 1 (sin t + (π - t) cos t) / π and of order 0 1 - t / π: at right angles 1 / π and 1 / 2."""
    monkeypatch.setattr(kip, "BIASES", 0.0)
    found = [float(kip.ntk(inputs(0.0), inputs(angle))) for angle in (90.0, 60.0, 120.0)]
    root = 3**0.5 / 2
    sixty = (root + 2 * math.pi / 3 / 2) / math.pi + 0.5 * 2 / 3
    hundred_and_twenty = (root - math.pi / 3 / 2) / math.pi - 0.5 / 3
    assert found == pytest.approx([1 / math.pi, sixty, hundred_and_twenty], abs=1e-12)
    assert kip.ntk(inputs(0.0, 90.0)).diagonal().tolist() == pytest.approx([2.0, 2.0])  # depth + 1 times the variance


# depth: (kernel of X with Z, of X with itself), by neural-tangents 0.6.5: stax.Dense with W_std √2 and b_std 0.1, stax.Relu
X, Z = ((0.5, -1.0, 2.0, 0.25), (1.5, 0.5, -0.5, 1.0)), ((-1.0, 0.75, 0.5, 1.25), (2.0, -2.0, 1.0, 0.0))
NEURAL_TANGENTS = {
    1: (
        [[0.7288139798832239, 4.574844886358479], [0.5276269140199493, 1.7936030805690588]],
        [[5.342500000000001, 0.495889465567061], [0.495889465567061, 3.780000000000002]],
    ),
    2: (
        [[1.5247923520026243, 6.364825584502972], [1.202920105580133, 2.8879319484941712]],
        [[8.028750000000002, 1.3480156308458549], [1.3480156308458549, 5.685000000000004]],
    ),
    3: (
        [[2.3421490651994565, 7.974258153003994], [1.8973222085995933, 3.986699560216034]],
        [[10.725000000000005, 2.2212748535534237], [2.2212748535534237, 7.600000000000007]],
    ),
}


@pytest.mark.parametrize("depth", NEURAL_TANGENTS)
def test_the_neural_tangent_kernel_has_the_numbers_of_neural_tangents(depth):
    x, z = (torch.tensor(points, dtype=torch.float64) for points in (X, Z))
    for found, wanted in zip((kip.ntk(x, z, depth), kip.ntk(x, depth=depth)), NEURAL_TANGENTS[depth], strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


@pytest.mark.parametrize("ridge", [1e-6, 1e-3])
def test_ridge_regression_is_scipys_solve(ridge):
    synthetic, targets, real = normal(12, 40), normal(12, 5, name="y"), normal(30, 40, name="t")
    kernel = synthetic.numpy() @ synthetic.numpy().T + 1
    weight = ridge * np.trace(kernel)
    solved = scipy.linalg.solve(kernel + weight * np.eye(12), targets.numpy(), assume_a="pos")
    wanted = (real.numpy() @ synthetic.numpy().T + 1) @ solved
    np.testing.assert_allclose(predictions(synthetic, targets, real, ridge), wanted, rtol=1e-9, atol=1e-12)
    found = solve(torch.from_numpy(kernel), targets, torch.tensor(weight))
    np.testing.assert_allclose(found, solved, rtol=1e-9)


def test_the_kernel_distance_is_made_of_sklearns_polynomial_kernel():
    real, distilled = normal(9, 6), normal(4, 6, name="d")
    means = [
        polynomial_kernel(a, b, degree=3).mean() for a, b in ((real, real), (distilled, distilled), (real, distilled))
    ]
    assert kernel_distance(real, distilled) == pytest.approx(means[0] + means[1] - 2 * means[2], rel=1e-6)


# Losses


@pytest.mark.parametrize("temperature", [1.0, 4.0, 30.0])
def test_the_divergence_is_torchs(temperature):
    student, teacher = normal(6, 9), normal(6, 9, name="t") * 5
    theirs = nn.KLDivLoss(reduction="batchmean")
    wanted = theirs((student / temperature).log_softmax(1), (teacher / temperature).softmax(1))
    torch.testing.assert_close(divergence("kl", temperature)(student, teacher), wanted)
    torch.testing.assert_close(divergence("kl_t2", temperature)(student, teacher), temperature**2 * wanted)
    entropy = F.cross_entropy(student / temperature, (teacher / temperature).softmax(1))
    gradients = []
    for loss in (lambda x: divergence("kl", temperature)(x, teacher), lambda _: entropy):
        leaf = student.clone().requires_grad_()
        value = (
            loss(leaf)
            if loss(leaf).requires_grad
            else F.cross_entropy(leaf / temperature, (teacher / temperature).softmax(1))
        )
        gradients.append(torch.autograd.grad(value, leaf)[0])
    torch.testing.assert_close(*gradients)  # it differs from the soft cross-entropy by the teacher's entropy alone


def test_the_cross_entropy_takes_probabilities_as_labels_smoothed_by_torch():
    logits, labels = normal(6, 5), torch.tensor([0, 1, 2, 3, 4, 0])
    smoothed = F.one_hot(labels, 5).double() * 0.9 + 0.1 / 5
    wanted = nn.CrossEntropyLoss(label_smoothing=0.1)(logits, labels)
    torch.testing.assert_close(loss_of("ce")(logits, smoothed), wanted)


def loop_of(name: str, **change) -> Loop:
    """The training of a small self-supervised model on `ramp_set`."""
    data, settings = ramp_set(per_class=12), pool_settings_of(name, WORD, change)
    from distillation.teachers import objectives
    from distillation.teachers.objective import Job
    from distillation.teachers.selfsupervised.teacher import _loop

    model = objectives.load(name).make.keywords["model"]
    job = Job(data=None, settings=settings.of_one(WORD), network=WORD, index=0)
    return _loop(job, data, model, "cpu")


def batch(count: int = 2) -> list[torch.Tensor]:
    return [torch.randn(16, 1, 8, 8, generator=draws("batch", i)) for i in range(count)]


def test_moco_v3_is_lightlys_contrast_with_the_other_keys_as_its_queue():
    model = loop_of("moco_v3").model
    assert isinstance(model, MoCo)
    queries, keys = (torch.randn(16, 8, generator=draws(name)) for name in "qk")
    temperature = model.settings.temperature
    losses = []
    for i in range(16):
        theirs = NTXentLoss(temperature, memory_bank_size=(15, 8))
        others = torch.cat([keys[:i], keys[i + 1 :]])
        theirs.memory_bank.bank = F.normalize(others, dim=1).T if _transposed(theirs) else F.normalize(others, dim=1)
        losses.append(theirs(queries[i : i + 1], keys[i : i + 1]))
    wanted = 2 * temperature * torch.stack(losses).mean()
    torch.testing.assert_close(model._contrast(queries, keys), wanted)


def _transposed(loss: NTXentLoss) -> bool:
    return loss.memory_bank.size[0] != loss.memory_bank.bank.shape[0]


def test_moco_v2_is_lightlys_contrast_of_query_and_key():
    loop = loop_of("moco_v2", splits=1)
    model, views = copy.deepcopy(loop.model), batch()
    theirs = NTXentLoss(model.settings.temperature, memory_bank_size=(24, 8))
    theirs.memory_bank.bank = model.contrast.memory_bank.bank.clone()
    with torch.no_grad():
        wanted = theirs(copy.deepcopy(model.online)(views[0]), copy.deepcopy(model.momentum)(views[1]))
    # keys are shuffled for the batch norms and put back in order
    torch.testing.assert_close(model(views, Moment(0, 0.0, draws("moment"))).detach(), wanted, rtol=1e-5, atol=1e-6)


def test_swav_is_lightlys_loss_of_the_scores_of_normalised_outputs():
    model, views = loop_of("swav", locals=0).model, batch()
    weights = F.normalize(model.prototypes.weight.detach(), dim=1)
    outputs = copy.deepcopy(model.online)(torch.cat(views)).detach().chunk(2)
    scores = [F.normalize(output, dim=1) @ weights.T for output in outputs]
    settings = model.settings
    wanted = SwaVLoss(settings.temperature, settings.sinkhorn, settings.epsilon)(scores, [])
    torch.testing.assert_close(model(views, Moment(0, 0.0, draws("moment"))).detach(), wanted.squeeze())


def test_dino_is_lightlys_loss_of_both_networks_outputs():
    model, views = loop_of("dino", locals=0).model, batch()
    settings = model.settings
    theirs = DINOLoss(
        settings.out, teacher_temp=settings.teacher_warm, student_temp=settings.temperature,
        center_momentum=settings.center,
    )  # fmt: skip
    twins = [copy.deepcopy(each)(torch.cat(views)).detach().chunk(2) for each in (model.momentum, model.online)]
    wanted = theirs(*map(list, twins), teacher_temp=settings.teacher_warm)
    torch.testing.assert_close(model(views, Moment(0, 0.0, draws("moment"))).detach(), wanted)


def test_barlow_twins_is_lightlys_loss_times_its_scale():
    model, views = loop_of("barlow_twins").model, batch()
    encoder = copy.deepcopy(model.online)
    with torch.no_grad():
        wanted = model.scale * BarlowTwinsLoss(lambda_param=model.redundancy.lambda_param)(*map(encoder, views))
    torch.testing.assert_close(model(views, Moment(0, 0.0, draws("moment"))).detach(), wanted)


# Optimisers and schedules


def test_lars_is_lightlys_where_nothing_is_clipped():
    """Our trust is relative to 1, as solo-learn's, lightly's to the rate; only matrices are adapted and decayed in both."""
    with seeded(draws("layers")):
        ours = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double()
    theirs, lr, trust = copy.deepcopy(ours), 0.02, 0.001
    groups = [
        {"params": [p for p in theirs.parameters() if p.ndim > 1], "weight_decay": 0.01},
        {"params": [p for p in theirs.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    pairs = (
        (ours, Lars(ours.parameters(), lr, 0.9, 0.01, trust)),
        (theirs, LARS(groups, lr, 0.9, trust_coefficient=trust / lr)),
    )
    for step in range(4):
        x = normal(8, 5, name=f"x{step}")
        for network, optimizer in pairs:
            network.zero_grad()
            network(x).square().sum().backward()
            layers_of = [p for p in network.parameters() if p.ndim > 1]
            assert all(trust * p.norm() < lr * (p.grad.norm() + 0.01 * p.norm()) for p in layers_of)  # not clipped
            optimizer.step()
    for given, wanted in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(given, wanted, rtol=1e-7, atol=1e-8)


def factors(scheduler_of, count: int) -> list[float]:
    """The factors that a scheduler of torch gives a rate of 1 at each of ``count`` epochs."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    scheduler, found = scheduler_of(optimizer), []
    for _ in range(count):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_schedules_are_torchs():
    rates = torch.optim.lr_scheduler
    wanted = factors(lambda o: rates.MultiStepLR(o, [3, 7], 0.1), 10)
    assert [stepped(epoch, 10, [3, 0.7], 0.1) for epoch in range(10)] == pytest.approx(wanted)
    wanted = factors(lambda o: rates.CosineAnnealingLR(o, 10), 10)
    assert [cosine(epoch, 10) for epoch in range(10)] == pytest.approx(wanted)

    def warmed(optimizer):
        parts = [rates.LinearLR(optimizer, 0.01, total_iters=4), rates.CosineAnnealingLR(optimizer, 16)]
        return rates.SequentialLR(optimizer, parts, [4])

    changes = {"epochs": 20, "warmup": 4, "schedule": "cosine", "horizon": None}
    params = product_params({f"evaluate.standard.fkd.{key}": value for key, value in changes.items()})
    settings = params.section("evaluate.standard.fkd", LessonSettings)
    assert [settings.factor(epoch) for epoch in range(20)] == pytest.approx(factors(warmed, 20))


def test_schedules_of_self_supervision_are_lightlys():
    steps = 40
    ours = [1 - towards_one(0.99, step / (steps - 1)) for step in range(steps)]
    assert ours == pytest.approx([1 - cosine_schedule(step, steps, 0.99, 1.0) for step in range(steps)], abs=1e-12)
    settings = loop_of("moco_v3", epochs=4, warmup=1, lr=0.6).settings
    ours = [rate(settings, step, 10) for step in range(41)]  # to the step after the last, where the cosine is 0
    wanted = [cosine_warmup_schedule(step, 41, 0.6, 0.0, 10, 0.0) for step in range(41)]
    assert ours == pytest.approx(wanted, abs=1e-12)
