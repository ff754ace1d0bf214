"""What many modules share: schedules, an optimiser's state, resampling, random images of each class, pools' images."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from distillation.augment import resample
from distillation.augment.adapt import adapt
from distillation.data.spaces import Space
from distillation.networks.chunks import in_chunks
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator
from distillation.training.optimizers import optimizer_state, restore_optimizer, set_rate
from distillation.training.schedules import cosine, drop_times, stepped, warmup_cosine
from tests.helpers.data import CLASSES, SIZE, noise_set
from tests.helpers.parameters import product_params
from tests.helpers.pools import pool_in


def test_half_a_cosine_has_the_bits_of_the_formula():
    for done in range(38):
        plain = (1 + math.cos(math.pi * done / 37)) / 2
        assert cosine(done, 37) == plain and cosine(done, 37, last=0.1) == 0.1 + (1 - 0.1) * plain
    assert (cosine(0), cosine(1), cosine(1, last=0.25)) == (1, 0, 0.25)


def test_warming_up_reaches_1_and_the_cosine_follows():
    factors = [warmup_cosine(step, 10, warmup=4) for step in range(11)]
    assert factors[:5] == [0, 0.25, 0.5, 0.75, 1] and factors[4:] == [cosine(step, 6) for step in range(7)]
    assert warmup_cosine(0, 10) == 1


def test_milestones_are_numbers_or_fractions():
    assert drop_times([3, 0.5, 0.01], 20) == [3, 10, 1]
    assert [stepped(epoch, 4, [0.5, 3], 0.1) for epoch in range(4)] == pytest.approx([1, 1, 0.1, 0.01])


@pytest.mark.parametrize(("epochs", "drops"), [(150, [50, 100]), (30, [10, 20])])
def test_a_default_teacher_drops_its_rate_at_the_published_epochs_and_that_of_digits_at_thirds(epochs, drops):
    assert drop_times(product_params().value("objectives.supervised.milestones"), epochs) == drops


def test_an_optimiser_goes_on_with_its_state_and_its_own_settings():
    def steps(weight, optimizer, count):
        for _ in range(count):
            optimizer.zero_grad()
            weight.square().sum().backward()
            optimizer.step()

    first, second = (torch.ones(3, requires_grad=True) for _ in range(2))
    whole = torch.optim.SGD([first], 0.1, momentum=0.9)
    steps(first, whole, 2)
    second.data.copy_(first)
    resumed = torch.optim.SGD([second], 5.0, momentum=0.9)
    restore_optimizer(resumed, copy.deepcopy(optimizer_state(whole)))
    assert resumed.param_groups[0]["lr"] == 5.0
    set_rate(resumed, 0.1)
    steps(first, whole, 2), steps(second, resumed, 2)
    assert torch.equal(first, second)


@pytest.mark.parametrize(("old", "new"), [(8, 8), (8, 5), (5, 8), (32, 7)])
def test_weights_of_a_whole_side_are_those_of_interpolation(old, new):
    images = torch.rand(2, 3, old, old, dtype=torch.float64, generator=generator(0, "images"))
    start, length = torch.tensor([[0.0], [float(old)]], dtype=torch.float64)
    weights = resample.antialiased(start, length, old, new)
    exact = F.interpolate(images, [new, new], mode="bilinear", antialias=True, align_corners=False)
    torch.testing.assert_close(weights @ images @ weights.mT, exact)


def test_weights_of_a_slice_are_those_of_interpolation():
    images = torch.rand(1, 3, 9, 9, dtype=torch.float64, generator=generator(0, "images"))
    start, length = torch.tensor([[2.0], [5.0]], dtype=torch.float64)
    weights = resample.interpolation(start, length, 9)
    exact = F.interpolate(images[:, :, 2:7, 2:7], [9, 9], mode="bilinear", align_corners=False)
    torch.testing.assert_close(weights @ images @ weights.mT, exact)


def test_chunks_join_in_order():
    sizes = []
    doubled = in_chunks(lambda part: (sizes.append(len(part)), 2 * part)[1], torch.arange(7), 3)
    assert torch.equal(doubled, 2 * torch.arange(7)) and sizes == [3, 3, 1]


def test_random_images_of_each_class_are_different_ones_of_it():
    data = noise_set()
    chosen = data.sample([0, 5, 40], generator(0, "some"))
    assert [len(indices) for indices in chosen] == [0, 5, 12]
    for label, indices in enumerate(chosen):
        assert (data.train.labels[indices] == label).all() and len(indices.unique()) == len(indices)
    draws = generator(0, "some")
    orders = [torch.randperm(12, generator=draws) for _ in range(CLASSES)]
    assert torch.equal(chosen[1], data.members[1][orders[1][:5]]), "one draw for each class, whatever is taken of it"


@pytest.mark.parametrize("space", [None, Space.raw()])
def test_a_pool_takes_images_in_its_own_space(tmp_path, space):
    data, pool = noise_set(), pool_in(tmp_path, space=space)
    images = data.encode(data.train.images[:4])
    taken = pool.take(images, data.space)
    assert taken is images if space is None else torch.equal(taken, data.space.decode(images))
    assert pool.fits(images) and not pool.fits(images[:, :1])


def test_a_pool_takes_images_of_another_shape_where_they_may_be_adapted(tmp_path):
    data, pool = noise_set(), pool_in(tmp_path, size=16)
    images = data.encode(data.train.images[:4])
    raw = adapt(data.space.decode(images), 3, 16)
    assert torch.equal(pool.take(images, data.space, adapting=True), pool.space.encode(raw))
    with pytest.raises(BadInput, match=f"main take 3×16×16, but the images are 3×{SIZE}×{SIZE}; for guidance"):
        pool.take(images, data.space)
