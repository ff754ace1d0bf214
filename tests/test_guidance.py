"""Guidance against plain references in float64, in chunks and from kept features, on teachers of other kinds of images."""

import pytest
import torch
import torch.nn.functional as F

from distillation import checks, params
from distillation.augment.adapt import LUMA, adapt, resize, to_channels
from distillation.data.spaces import Space
from distillation.methods import guidance
from distillation.methods.families import distances
from distillation.methods.guidance import Guidance
from distillation.networks.build import build
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator
from distillation.teachers.pool import Pool
from tests.helpers.data import CLASSES, IPC, SIZE
from tests.helpers.methods import GUIDANCE, added, guided, method_of
from tests.helpers.pools import pool_in

WORD = "ConvNetW8D2"
GREY = Space.normalised([0.3], [0.3])


def pool_of(folder, words=(WORD,), space=None, **more):
    """Untrained teachers of another space than the dataset's."""
    return pool_in(folder, words, space or Space.normalised([0.5, 0.4, 0.3], [0.2, 0.2, 0.3]), **more)


def drawn_batch(guide, update):
    draws = guide.problem.draws("guidance batch", update)
    return torch.randint(len(guide.labels), (guide.settings.guidance.batch,), generator=draws)


def reference(method, guide, update=0):
    """Gradient and loss in float64, pair by pair as CLoM writes them."""
    problem, pool = method.problem, guide.pool
    network = pool.network(guide._drawn(update))
    network = build(network.name, *pool.shape, generator(0, "any")).double()
    network.load_state_dict(pool.network(guide._drawn(update)).state_dict())

    def given(images):
        space = Space("normalised", {k: v.double() for k, v in problem.data.space.tensors.items()})
        theirs = Space("normalised", {k: v.double() for k, v in pool.space.tensors.items()})
        raw = space.decode(images)
        if pool.shape[0] == 1:
            raw = (raw * torch.tensor(LUMA, dtype=raw.dtype).view(1, 3, 1, 1)).sum(1, keepdim=True)
        size = [pool.shape[1]] * 2
        return theirs.encode(F.interpolate(raw, size, mode="bilinear", antialias=True, align_corners=False))

    images = method.images.detach().double().requires_grad_()
    chosen = drawn_batch(guide, update)
    labels, real = problem.data.train.labels[chosen], problem.real(chosen).double()
    if guide.distance == "ce":
        loss = F.cross_entropy(network(given(images)), method.labels)
    else:
        if guide.distance == "ce_ratio":
            surprise = -network(given(images)).log_softmax(1)
            pairs = torch.stack([surprise[:, label] for label in labels])
        else:
            ours, theirs = network.embed(given(images)), network.embed(given(real))
            pairs = 1 - torch.stack([F.cosine_similarity(f.unsqueeze(0), ours) for f in theirs])
        same = labels.unsqueeze(1) == method.labels
        loss = (pairs * same).sum() / pairs.sum()
    return torch.autograd.grad(loss, images)[0], float(loss.detach())


KINDS = {
    "same": {},
    "grey": {"channels": 1, "space": GREY},
    "large": {"size": 13},
    "small grey": {"channels": 1, "size": 5, "space": GREY},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("distance", ["ce", "ce_ratio", "cos"])
def test_each_distance_agrees_with_its_formula_in_float64(tmp_path, distance, kind):
    pool = pool_of(tmp_path, **KINDS[kind])
    method, guide = guided(pool, distance=distance, adapt=kind != "same", chunk=4)
    for update in (0, 1):
        gradient, loss = added(method, guide, update)
        wanted, value = reference(method, guide, update)
        assert loss == pytest.approx(value, rel=1e-4)
        torch.testing.assert_close(gradient.double(), wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize("distance", ["ce", "ce_ratio", "cos"])
def test_chunks_leave_the_loss_and_its_gradient_exact(tmp_path, distance):
    pool = pool_of(tmp_path)
    found = [added(*guided(pool, distance=distance, chunk=chunk)) for chunk in (1000, CLASSES * IPC, 4, 1)]
    for gradient, loss in found[1:]:
        assert loss == pytest.approx(found[0][1], rel=1e-6)
        scale = float(found[0][0].abs().max())
        torch.testing.assert_close(gradient, found[0][0], rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("distance", ["ce_ratio", "cos"])
def test_the_gradients_of_the_ratios_agree_with_finite_differences(distance):
    draws = generator(0, "outputs")
    outputs = torch.randn(5, 3, dtype=torch.float64, generator=draws, requires_grad=True)
    labels = torch.tensor([0, 0, 1, 2, 2])
    counts = torch.tensor([3.0, 1.0, 4.0], dtype=torch.float64)
    units = F.normalize(torch.randn(8, 3, dtype=torch.float64, generator=draws))
    sums = distances.class_sums(units, torch.arange(3).repeat_interleave(counts.long()), 3)
    real = (counts,) if distance == "ce_ratio" else (counts, sums)

    def loss(outputs):
        same, pairs = distances.DISTANCES[distance](outputs, labels, *real)
        return same / pairs

    assert torch.autograd.gradcheck(loss, outputs)


def test_kept_features_give_the_same_loss_as_fresh_ones(tmp_path, monkeypatch):
    pool = pool_of(tmp_path, ("ConvNetW8D2", "ConvNetW4D2BN"))
    method, guide = guided(pool, distance="cos", chunk=4)
    assert guide.cached == set(pool.members)
    kept = [added(method, guide, update) for update in range(8)]
    assert guide.units.keys() == guide.cached
    monkeypatch.setattr(guidance, "CACHE", 0)
    method, guide = guided(pool, distance="cos", chunk=4)
    assert guide.cached == set()
    for update, (gradient, loss) in enumerate(kept):
        fresh, value = added(method, guide, update)
        assert value == pytest.approx(loss, rel=1e-6, abs=1e-6)
        torch.testing.assert_close(fresh, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("distance", ["ce", "ce_ratio", "cos"])
def test_guidance_made_anew_between_any_two_updates_gives_the_same_bits(tmp_path, distance):
    def run(stops):
        pool = pool_of(tmp_path, ("ConvNetW8D2", "ConvNetW4D2"))
        method = method_of("dm", pool, alpha=20.0, chunk=4, guidance={**GUIDANCE, "distance": distance})
        guide = Guidance(method.problem, pool)
        for update in range(method.total):
            if update in stops:
                state = method.state_dict()
                method = method_of("dm", pool, alpha=20.0, chunk=4, guidance={**GUIDANCE, "distance": distance})
                method.load_state_dict(state)
                guide = Guidance(method.problem, Pool(tmp_path))
            method.advance()
            guide.add_gradient(method, update)
            method.apply()
        return method.images.detach()

    assert torch.equal(run([]), run([1, 2, 5]))


def test_as_many_teachers_as_fit_keep_their_features(tmp_path, monkeypatch):
    pool = pool_of(tmp_path, kept=("last", 3, 5))
    size = 4 * CLASSES * 12 * pool.network(pool.members[0]).features_size
    monkeypatch.setattr(guidance, "CACHE", 2 * size)
    _, guide = guided(pool, distance="cos")
    assert guide.cached == set(pool.members[:2])


def test_the_real_batch_is_drawn_from_the_whole_training_set_with_replacement(tmp_path):
    method, guide = guided(pool_of(tmp_path), distance="cos", batch=2000)
    chosen = drawn_batch(guide, 0)
    assert len(chosen.unique()) == len(guide.labels) == 36  # 2000 draws of 36 images
    counts, sums = guide._real(guide.pool.members[0], 0)
    assert counts.sum() == 2000 and torch.equal(counts, torch.bincount(guide.labels[chosen]).float())
    assert sums.shape == (CLASSES, guide.pool.network(guide.pool.members[0]).features_size)
    assert not torch.equal(drawn_batch(guide, 0), drawn_batch(guide, 1))
    before = torch.random.get_rng_state()
    guide.add_gradient(method, 0)
    assert torch.equal(before, torch.random.get_rng_state())


def test_batch_norm_teachers_are_in_eval_mode_and_stay_as_they_were(tmp_path):
    pool = pool_of(tmp_path, ("ConvNetW8D2BN",))
    method, guide = guided(pool, distance="cos", chunk=2)
    network = pool.network(pool.members[0])
    before = {k: v.clone() for k, v in network.state_dict().items()}
    guide.add_gradient(method, 0)
    assert not network.training
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


@pytest.mark.parametrize("epoch", ["any", "last", "best", 3])
def test_the_chosen_checkpoints_guide(tmp_path, epoch):
    pool = pool_of(tmp_path, kept=("last", "best", 3))
    _, guide = guided(pool, epoch=epoch)
    drawn = {guide._drawn(update).kept for update in range(60)}
    assert drawn == ({"last", "best", "3"} if epoch == "any" else {str(epoch)})
    assert len(pool.members) == 3


def test_the_cost_counts_what_guidance_passes_through_teachers(tmp_path, monkeypatch):
    pool, none = pool_of(tmp_path), {"images_forward": 0, "images_backward": 0, "gflop": 0.0}
    images, flops = CLASSES * IPC, pool.flops(WORD)

    def cost(**settings):
        method, guide = guided(pool, **settings)
        return guide.added_to(none, method, 5)

    plain = cost()
    assert plain == {**none, "images_forward": 5 * images, "images_backward": 5 * images, "gflop": plain["gflop"]}
    assert plain["gflop"] == round(15 * images * flops / 1e9, 1)
    assert cost(distance="ce_ratio", chunk=2)["images_forward"] == 10 * images
    assert cost(distance="cos")["images_forward"] == 5 * images + 36
    monkeypatch.setattr(guidance, "CACHE", 0)
    assert cost(distance="cos", batch=20)["images_forward"] == 5 * images + 5 * 20


@pytest.mark.parametrize(
    "sizes", [(32, 64), (32, 224), (64, 32), (28, 32), (32, 28), (224, 32), (8, 3), (5, 1), (1, 4)]
)
def test_resizing_agrees_with_interpolate(sizes):
    old, new = sizes
    images = torch.rand(2, 3, old, old, generator=generator(0, "images"))
    wanted = F.interpolate(images.double(), (new, new), mode="bilinear", antialias=True, align_corners=False)
    torch.testing.assert_close(resize(images, new).double(), wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(resize(images.double(), new), wanted)


def test_adapting_images_agrees_with_finite_differences():
    images = torch.rand(1, 3, 4, 4, dtype=torch.float64, generator=generator(0, "images"), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: adapt(x, 1, 6), images)
    assert torch.autograd.gradcheck(lambda x: adapt(x[:, :1], 3, 3), images)


def test_channels_are_repeated_or_weighted():
    images = torch.rand(2, 3, 4, 4, generator=generator(0, "images"))
    grey = to_channels(images, 1)
    torch.testing.assert_close(grey[:, 0], images[:, 0] * 0.299 + images[:, 1] * 0.587 + images[:, 2] * 0.114)
    assert torch.equal(to_channels(grey, 3), torch.cat([grey] * 3, 1)) and to_channels(images, 3) is images
    with pytest.raises(BadInput, match="only grey and RGB"):
        to_channels(images.repeat(1, 2, 1, 1), 3)


def test_teachers_of_other_classes_guide_by_features_alone(tmp_path):
    pool = pool_of(tmp_path, classes=("x", "y"))
    method, guide = guided(pool, distance="cos")
    gradient, _ = added(method, guide)
    assert gradient.abs().sum() > 0
    for distance in ("ce", "ce_ratio"):
        with pytest.raises(BadInput, match=r"whose classes are not those of the dataset.*distance cos would do\.$"):
            guided(pool, distance=distance)


@pytest.mark.parametrize("word", ["MLP", "LeNet"])
def test_features_of_a_network_without_them_are_refused(tmp_path, word):
    size = 16 if word == "LeNet" else SIZE
    with pytest.raises(BadInput, match=rf"distance is cos, but the teacher {word} has no features\.$"):
        guided(pool_of(tmp_path, (word,), size=size), distance="cos", adapt=True)


def test_other_bad_guidance_is_refused(tmp_path):
    pool = pool_of(tmp_path, (WORD, "ConvNetW4D2"))
    with pytest.raises(BadInput, match=r"ConvNetW4D2 is on one side only\.$"):
        guided(pool, alpha={WORD: 1.0})
    with pytest.raises(BadInput, match=r"the teachers of main were kept at last, not at 50\.$"):
        guided(pool, epoch=50)
    method, guide = guided(pool_of(tmp_path, channels=1, size=16, space=GREY))
    with pytest.raises(BadInput, match=r"take 1×16×16, but the images are 3×8×8.*guidance\.adapt true adapts"):
        guide.add_gradient(method, 0)


def checked(**changes):
    """``check_all`` on params.yaml with values changed; ``__`` stands for a dot."""
    values = params.load("params.yaml").values
    for path, value in {"method__alpha": 0.0, **changes}.items():
        at = values
        *above, last = path.split("__")
        for key in above:
            at = at[key]
        at[last] = value
    checks.check_all(params.Params(values))


C100 = {"name": "cifar100"}
RESNET = {
    "teacher__main__objective": "imported",
    "teacher__main__networks": ["resnet18"],
    "objectives__imported__weights": "IMAGENET1K_V1",
}
OTHER = {"sources": {"other": C100}, "teacher__main__source": "sources/other"}


def test_sound_guidance_passes_the_check():
    checked(method__alpha=1.0)
    checked(method__alpha=1.0, method__guidance__distance="cos", method__guidance__adapt=True, **OTHER)
    checked(method__alpha={"ConvNetD2W64NN": 3.0}, method__guidance__epoch="last")
    checked(**OTHER)  # alpha is 0: nobody guides
    checked(method__alpha={"resnet18": 2.0}, method__guidance__distance="cos", method__guidance__adapt=True, **RESNET)
    same = {"sources": {"again": {"name": "digits"}}, "teacher__main__source": "sources/again"}
    checked(method__alpha=1.0, method__guidance__distance="ce_ratio", **same)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (OTHER, "method.guidance.distance is ce, but the teachers of main do not know the classes"),
        (OTHER | {"method__guidance__distance": "ce_ratio"}, "choose cos, or another method.guidance.teacher."),
        (
            OTHER | {"method__guidance__distance": "cos"},
            "take images of 3 channels of 32 px, but those of the dataset have 1 channel of 8 px: ",
        ),
        (
            {"teacher__main__networks": ["MLP"], "method__guidance__distance": "cos"},
            "method.guidance.distance is cos, but the teacher MLP has no features.",
        ),
        (RESNET, "method.guidance.distance is ce, but the teachers of main do not know the classes"),
        (
            RESNET | {"method__guidance__distance": "cos"},
            "the teachers of main take images of 3 channels of 224 px, but those",
        ),
        (RESNET | {"method__guidance__epoch": "best"}, "method.guidance.epoch is best, but teacher.main.keep is last"),
        ({"method__alpha": {"ConvNet": 1.0}}, "ConvNet is on one side only."),
        (
            {"method__alpha": {"ConvNetD2W64NN": 1.0}, "teacher__main__networks": ["ConvNetD2W64NN", "ConvNet"]},
            "ConvNet is on one side only.",
        ),
        (
            {"method__guidance__epoch": 12},
            "method.guidance.epoch is 12, but teacher.main.keep is last: name one of them",
        ),
        (
            {"method__guidance__distance": "cosine"},
            "method.guidance.distance is 'cosine', but should be 'ce', 'ce_ratio'",
        ),
        ({"method__guidance__batch": 0}, "method.guidance.batch is 0"),
    ],
)
def test_guidance_that_cannot_work_is_refused_before_anything_runs(changes, words):
    with pytest.raises(BadInput) as caught:
        checked(**{"method__alpha": 1.0, **changes})
    assert words in str(caught.value) and "\n" not in str(caught.value)
