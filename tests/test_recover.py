"""Recovery against a float64 reference, in parts and resumed, and what it refuses."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from distillation import checks, methods, params, paths
from distillation.augment import crops
from distillation.data.distilled import DistilledSet
from distillation.data.spaces import Space
from distillation.methods.base import Common, of_a_shard
from distillation.methods.cda import CDA
from distillation.methods.driver import updates
from distillation.methods.families.recover import BatchNormMonitor, Recover, variation
from distillation.methods.guidance import Guidance
from distillation.networks.build import build
from distillation.runtime import process
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator
from distillation.runtime.work import Task, work_folder
from distillation.teachers.pool import Pool
from stages import distill
from tests.helpers.data import CLASSES, SIZE, noise_set
from tests.helpers.methods import COMMON, method_of
from tests.helpers.parameters import product_params
from tests.helpers.pools import pool_in, seen_pool_in

WORD = "ConvNetW4D2BN"
SETTINGS = {
    "first": 0,
    "batch": 2,
    "iterations": 3,
    "lr": 0.3,
    "r_bn": 0.05,
    "first_bn": 10.0,
    "tv_l2": 0.02,
    "l2": 0.01,
    "crop": 0.3,
    "flip": True,
    "jitter": [-2, 3],
    "verify": False,
}


def recovered(pool, name="scdd", shard=0, ipc=1, data=None, guides=None, common=None, **settings):
    return method_of(name, pool, data, {**SETTINGS, **settings}, shard, guides, ipc=ipc, **(common or {}))


def run(method):
    assert all(unit.updated for unit in updates(method))
    return method.result()


def reference(images, labels, pool, method, iteration):
    """Loss and gradient in float64, as the formulas read, with forward hooks and torch's own crop and roll."""
    settings, data = method.settings, method.problem.data
    network = build(pool.members[0].word, *pool.shape, generator(0, "any"))
    network.load_state_dict(pool.network(pool.members[0]).state_dict())
    network.double().eval()
    seen = []
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_hook(lambda m, given, _: seen.append((m, given[0])))
    x = images.double().requires_grad_()
    draws = generator(0, method.problem.settings.name, "update", *method.unit, iteration)
    given = x
    if settings.crop:
        top, left, height, width = crops.resized(1, SIZE, (method.lowest(iteration), 1.0), draws)[0].tolist()
        part = x[:, :, top : top + height, left : left + width]
        given = F.interpolate(part, (SIZE, SIZE), mode="bilinear", align_corners=False)
    if settings.flip and torch.rand((), generator=draws) < 0.5:
        given = given.flip(3)
    low, high = settings.jitter
    given = torch.roll(given, tuple(torch.randint(low, high + 1, (2,), generator=draws).tolist()), (2, 3))
    entropy = F.cross_entropy(network(given), labels)
    statistics = 0
    for layer, (norm, values) in enumerate(seen):
        values = values.transpose(0, 1).flatten(1)
        distance = (values.mean(1) - norm.running_mean).norm() + (values.var(1, correction=0) - norm.running_var).norm()
        statistics = statistics + distance * (settings.first_bn if layer == 0 else 1)
    neighbours = [
        given[:, :, :, :-1] - given[:, :, :, 1:],
        given[:, :, :-1] - given[:, :, 1:],
        given[:, :, :-1, :-1] - given[:, :, 1:, 1:],
        given[:, :, 1:, :-1] - given[:, :, :-1, 1:],
    ]
    loss = entropy + settings.r_bn * statistics
    loss = loss + settings.tv_l2 * sum(each.pow(2).sum().sqrt() for each in neighbours)
    loss = loss + settings.l2 * sum(each.pow(2).sum().sqrt() for each in given) / len(given)
    assert data.space.same(pool.space)
    return loss.item(), torch.autograd.grad(loss, x)[0]


@pytest.mark.parametrize("name", ["scdd", "sre2l", "cda"])
@pytest.mark.parametrize("word", [WORD, "ResNet10BN"])
def test_updates_agree_with_a_float64_reference(tmp_path, name, word):
    """Loss, gradient, Adam(0.5, 0.9) at the cosine's rate and the clamp, over two updates of the second block."""
    extra = {"milestone": 0.8} if name == "cda" else {}
    pool = seen_pool_in(tmp_path, word)
    method = recovered(pool, name, shard=4, **extra)
    while method.at < method.settings.iterations:
        method.advance()
        method.apply()
    assert method.unit == (4, 1) and method.labels.tolist() == [2]
    noise = torch.randn(1, 3, SIZE, SIZE, generator=generator(0, name, "noise", 4, 1))
    assert torch.equal(method.images.detach(), noise)
    x, m, v = noise.double(), 0, 0
    space = method.problem.data.space
    low, high = (space.encode(torch.full((1, 3, 1, 1), p)).double() for p in (0.0, 1.0))
    for iteration in range(2):
        loss, gradient = reference(x.float(), method.labels, pool, method, iteration)
        outcome = method.advance()
        assert float(outcome.metrics["loss"]) == pytest.approx(loss, rel=1e-5)
        scale = float(gradient.abs().max())
        torch.testing.assert_close(method.images.grad.double(), gradient, rtol=1e-3, atol=1e-5 * scale)
        method.apply()
        m, v = 0.5 * m + 0.5 * gradient, 0.9 * v + 0.1 * gradient**2
        rate = 0.3 * (1 + math.cos(math.pi * iteration / 3)) / 2
        step = (m / (1 - 0.5 ** (iteration + 1))) / ((v / (1 - 0.9 ** (iteration + 1))).sqrt() + 1e-8)
        x = (x - rate * step).clamp(low, high)
        torch.testing.assert_close(method.images.detach().double(), x, rtol=1e-3, atol=1e-3)
    assert float(outcome.metrics["ce"]) > 0 and float(outcome.metrics["bn"]) > 0


def test_the_loss_of_the_statistics_agrees_with_finite_differences(tmp_path):
    watched = BatchNormMonitor(seen_pool_in(tmp_path).network(seen_pool_in(tmp_path).members[0]), 10.0).double()
    images = torch.randn(2, 3, SIZE, SIZE, dtype=torch.float64, generator=generator(0, "x")).requires_grad_()
    assert torch.autograd.gradcheck(watched, (images,), eps=1e-6, atol=1e-5)
    assert torch.autograd.gradcheck(variation, (images,), eps=1e-6, atol=1e-6)


def test_the_first_batch_norm_alone_has_a_weight_of_its_own(tmp_path):
    network = seen_pool_in(tmp_path).network(seen_pool_in(tmp_path).members[0])
    images = torch.randn(4, 3, SIZE, SIZE, generator=generator(0, "x"))
    one, five = (BatchNormMonitor(network, first)(images)[1] for first in (1.0, 5.0))
    norm = next(m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d))
    given = network.body[0](images).transpose(0, 1).flatten(1)
    distance = (given.mean(1) - norm.running_mean).norm() + (given.var(1, correction=0) - norm.running_var).norm()
    torch.testing.assert_close(five - one, 4 * distance)


def test_images_that_the_network_knows_have_no_deviation(tmp_path):
    """Running statistics set to those of a batch: the whole term vanishes for this batch, and its gradient is finite."""
    network = build(WORD, 3, SIZE, CLASSES, generator(0, "n")).requires_grad_(False)
    images = torch.randn(6, 3, SIZE, SIZE, generator=generator(0, "x"))
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    network(images)
    given = [[], []]
    for norm, inputs in zip(norms, given, strict=True):
        norm.register_forward_hook(lambda m, i, _, inputs=inputs: inputs.append(i[0]))
    network(images)
    for norm, inputs in zip(norms, given, strict=True):
        norm.running_var.copy_(inputs[0].var((0, 2, 3), correction=0))
    _, deviation = BatchNormMonitor(network, 10.0)(images.requires_grad_())
    assert deviation.item() == pytest.approx(0, abs=1e-4)
    assert torch.autograd.grad(deviation, images)[0].isfinite().all()


def test_an_image_is_the_same_whatever_range_it_is_made_in(tmp_path):
    pool = seen_pool_in(tmp_path)
    whole = run(recovered(pool, ipc=5)).images.unflatten(0, (CLASSES, 5))
    for shard, ipc in ((0, 1), (3, 1), (1, 3)):
        part = run(recovered(pool, shard=shard, ipc=ipc)).images.unflatten(0, (CLASSES, ipc))
        assert torch.equal(part, whole[:, shard : shard + ipc])
    assert len({image.numpy().tobytes() for image in whole.flatten(0, 1)}) == CLASSES * 5


def test_shards_are_the_indices_asked_for():
    settings = methods.load("scdd").Settings(**{**SETTINGS, "first": 10})
    shards, share = of_a_shard(Recover, Common(**{**COMMON, "name": "scdd", "ipc": 4}), settings)
    assert list(shards) == [10, 11, 12, 13] and share.ipc == 1


@pytest.mark.parametrize("name", ["scdd", "cda"])
def test_stopped_at_every_step_it_gives_the_same_bits(tmp_path, name):
    extra = {"milestone": 1.0} if name == "cda" else {}
    pool, task = seen_pool_in(tmp_path), Task("recover", tmp_path / "work", {}, 0.0)
    whole, method = run(recovered(pool, name, ipc=2, **extra)), recovered(pool, name, ipc=2, **extra)
    task.start()
    while method.at < method.total:
        next(updates(method))
        task.checkpoint(method.state_dict())
        method = recovered(pool, name, ipc=2, **extra)
        method.load_state_dict(task.start())
    assert torch.equal(method.result().images, whole.images)


def test_images_stay_in_the_range_of_pixels_and_are_kept_as_floats(tmp_path):
    made = run(recovered(seen_pool_in(tmp_path), lr=50.0))
    raw = made.space.decode(made.images)
    assert raw.min() >= -1e-6 and raw.max() <= 1 + 1e-6 and (raw < 0.001).any() and (raw > 0.999).any()
    assert made.images.dtype == torch.float32 and made.labels.tolist() == [0, 1, 2]


def test_teachers_of_another_space_see_the_same_pixels(tmp_path):
    """A pool trained on raw pixels: the same loss as through its own space by hand."""
    pool = seen_pool_in(tmp_path, space=Space.raw())
    method = recovered(pool, crop=0.0, flip=False, jitter=[0, 0], tv_l2=0.0, l2=0.0)
    raw = method.problem.data.space.decode(method.images.detach())
    logits, deviation = BatchNormMonitor(pool.network(pool.members[0]), 10.0)(raw)
    wanted = F.cross_entropy(logits, method.labels) + 0.05 * deviation
    assert float(method.advance().metrics["loss"]) == pytest.approx(float(wanted), rel=1e-5)


def test_crops_of_the_curriculum_begin_whole_and_end_small():
    method = CDA.__new__(CDA)
    method.settings = methods.load("cda").Settings(**{**SETTINGS, "iterations": 100, "crop": 0.08, "milestone": 0.5})
    lowest = [method.lowest(i) for i in range(100)]
    assert lowest[0] == 1 and lowest[25] == pytest.approx(0.54) and lowest[50:] == [pytest.approx(0.08)] * 50
    assert lowest == sorted(lowest, reverse=True)


def test_digits_are_not_mirrored(tmp_path):
    data = noise_set()
    data = replace(data, info={**data.info, "flip": False})
    pool = seen_pool_in(tmp_path)
    one, other = (run(recovered(pool, data=data, flip=flip, jitter=[0, 0], crop=0.0)) for flip in (True, False))
    assert torch.equal(one.images, other.images)


def test_a_verifier_watches_and_changes_nothing(tmp_path):
    pool, guides = seen_pool_in(tmp_path / "a"), seen_pool_in(tmp_path / "b", "ConvNetW4D2")
    watched = recovered(pool, guides=guides, verify=True)
    values = watched.advance().metrics
    watched.apply()
    noise = torch.randn(2, 3, SIZE, SIZE, generator=generator(0, "scdd", "noise", 0, 0))
    hits = guides.network(guides.members[0])(noise).argmax(1) == torch.tensor([0, 1])
    assert float(values["verified"]) == pytest.approx(100 * hits.float().mean().item())
    assert torch.equal(run(watched).images, run(recovered(pool)).images)
    assert watched.cost().images_forward == 2 * recovered_images() == 2 * watched.cost().images_backward


def test_a_verifier_of_another_shape_is_asked_where_guidance_adapts(tmp_path):
    pool, guides = seen_pool_in(tmp_path / "a"), seen_pool_in(tmp_path / "b", "ConvNetW4D2", size=16)
    guidance = {**COMMON["guidance"], "adapt": True}
    watched = recovered(pool, guides=guides, common={"guidance": guidance}, verify=True)
    assert 0 <= float(watched.advance().metrics["verified"]) <= 100
    with pytest.raises(BadInput, match=r"take 3×16×16, but the images are 3×8×8.*guidance\.adapt true adapts"):
        recovered(pool, guides=guides, verify=True).advance()


def recovered_images():
    return CLASSES * SETTINGS["iterations"]


def test_guidance_joins_the_gradient_of_the_block_that_is_made(tmp_path):
    pool, guides = seen_pool_in(tmp_path / "a"), seen_pool_in(tmp_path / "b", "ConvNetW4D2")
    method = recovered(pool, guides=guides, common={"alpha": 2.0})
    while method.unit[1] == 0:
        method.advance()
        method.apply()
    method.advance()
    own, images = method.images.grad.clone(), method.images.detach().clone().requires_grad_()
    Guidance(method.problem, guides).add_gradient(method, 0)
    entropy = F.cross_entropy(guides.network(guides.members[0])(images), torch.tensor([2]))
    torch.testing.assert_close(method.images.grad - own, 2 * torch.autograd.grad(entropy, images)[0])


def test_no_draw_depends_on_the_global_generator(tmp_path):
    pool = seen_pool_in(tmp_path)
    before = torch.random.get_rng_state()
    run(recovered(pool))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_teacher_without_batch_norms_or_with_other_classes_is_refused(tmp_path):
    with pytest.raises(BadInput, match="without batch norms"):
        recovered(pool_in(tmp_path / "a"))
    with pytest.raises(BadInput, match="whose classes are not those of the dataset"):
        recovered(seen_pool_in(tmp_path / "b", classes=("x", "y", "z")))
    with pytest.raises(BadInput, match=r"verify .* name another"):
        recovered(
            seen_pool_in(tmp_path / "c"), guides=seen_pool_in(tmp_path / "d", classes=("x", "y", "z")), verify=True
        )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method.name": "scdd"}, "first network is ConvNetD2W64NN, but scdd reads batch norms"),
        (
            {"method.name": "cda", "teacher.main.networks": ["ConvNet", "ConvNetBN"]},
            "first network is ConvNet, but cda",
        ),
        ({"method.scdd.jitter": [4, 0]}, "method.scdd.jitter .* the least and the most pixels"),
        ({"method.cda.crop": 0.0}, "method.cda.crop is 0.0, but should be greater than 0"),
    ],
)
def test_bad_parameters_are_one_sentence(change, words):
    with pytest.raises(BadInput, match=words):
        checks.check_all(product_params(change))


def test_good_parameters_are_sound():
    checks.check_all(product_params({"method.name": "scdd", "teacher.main.networks": ["ResNet18BN", "ConvNet"]}))


def test_more_images_reuse_those_that_are_made(tmp_path, monkeypatch):
    """The stage's own tasks: two images a class, then images 1 to 3; what was made is not made again."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    data = noise_set()
    data.save(paths.DATASET)
    seen_pool_in(tmp_path / paths.POOLS / "main")
    monkeypatch.setattr(process, "begin", lambda: None)
    compute = {"device": "cpu", "locks": "auto", "workers": 1, "threads": 1, "group": 1, "checkpoint": 60.0}

    def finished():
        return {file: file.stat().st_mtime_ns for file in work_folder().glob("*/done/cost.json")}

    def made(first, ipc):
        before = finished()
        common = {**COMMON, "name": "scdd", "ipc": ipc, "scdd": {**SETTINGS, "first": first}}
        monkeypatch.setattr(params, "load", lambda: params.Params({"method": common, "compute": compute}))
        distill.run()
        assert before.items() <= finished().items()
        return DistilledSet.load(paths.DISTILLED / paths.SET_FILE), len(finished()) - len(before)

    (two, fresh), (three, more) = made(0, 2), made(1, 3)
    assert (fresh, more) == (2, 2)
    assert two.info["ipc"] == 2 and three.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert torch.equal(two.images.unflatten(0, (3, 2))[:, 1], three.images.unflatten(0, (3, 3))[:, 0])
    assert torch.equal(two.images, run(recovered(Pool(paths.POOLS / "main"), ipc=2)).images)
