"""DC's evaluation augmentation against a plain loop over images, and scipy's rotation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch.nn import functional as F

from distillation.augment import dc
from distillation.augment.dc import augment_dc, rotated
from distillation.augment.strategy import DC_OPERATIONS
from distillation.params import validate
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator
from distillation.training.settings import TrainSettings
from tests.helpers.training import SETTINGS, training

SIZES = st.integers(8, 40)
torch.set_num_threads(1)


def images(n, channels, size, dtype=torch.float64):
    return torch.randn(n, channels, size, size, dtype=dtype, generator=generator(0, "images"))


@settings(max_examples=100, deadline=None)
@given(size=SIZES, seed=st.integers(0, 2**31))
def test_crop_pads_with_the_mean_colour(size, seed):
    x = images(5, 3, size)
    mean = x.mean((0, 2, 3))
    offsets = torch.randint(8, (5, 2, 1), generator=generator(seed, "crop")).squeeze(2).tolist()
    changed = dc._crop(x, mean, generator(seed, "crop"))
    for image, result, (top, left) in zip(x, changed, offsets, strict=True):
        padded = mean.view(3, 1, 1).expand(3, size + 8, size + 8).clone()
        padded[:, 4 : 4 + size, 4 : 4 + size] = image
        assert torch.equal(result, padded[:, top : top + size, left : left + size])


@settings(max_examples=100, deadline=None)
@given(size=SIZES, seed=st.integers(0, 2**31))
def test_scale_is_the_nearest_neighbour_resized_and_centred(size, seed):
    x = images(5, 3, size, torch.float32)
    factors = torch.rand(5, 2, 1, generator=generator(seed, "scale")).squeeze(2).double() * 0.4 + 0.8
    changed = dc._scale(x, None, generator(seed, "scale"))
    for image, result, (high, wide) in zip(x, changed, factors, strict=True):
        high, wide = int(high * size), int(wide * size)
        side = max(high, wide, size)
        canvas = torch.zeros(3, side, side)
        top, left, edge = (side - high) // 2, (side - wide) // 2, (side - size) // 2
        canvas[:, top : top + high, left : left + wide] = F.interpolate(image[None], (high, wide))[0]
        assert torch.equal(result, canvas[:, edge : edge + size, edge : edge + size])


@pytest.mark.parametrize("size", [8, 9, 28, 32])
def test_rotation_by_every_angle_is_scipys(size):
    degrees = torch.arange(-45, 45)
    x = images(len(degrees), 2, size)
    turned = rotated(x, degrees, torch.tensor(0.3, dtype=x.dtype))
    for image, angle, result in zip(x.numpy(), degrees.tolist(), turned.numpy(), strict=True):
        whole = ndimage.rotate(image, angle, axes=(-2, -1), cval=0.3)
        edge = (whole.shape[1] - size) // 2
        np.testing.assert_allclose(result, whole[:, edge : edge + size, edge : edge + size], atol=1e-12)
    single = rotated(x.float(), degrees, torch.tensor(0.3))
    torch.testing.assert_close(single.double(), turned, rtol=0, atol=1e-5)


def test_noise_is_small_and_normal():
    x = images(64, 3, 16)
    added = augment_dc(x, "noise", generator(0, "noise")) - x
    assert float(added.std()) == pytest.approx(0.001, rel=0.02) and abs(float(added.mean())) < 2e-5


def test_each_image_has_one_operation_of_the_word_and_a_draw_of_its_own():
    image = images(1, 1, 16, torch.float32)
    x = image.expand(6000, -1, -1, -1)
    kinds = torch.randint(3, (len(x),), generator=generator(0, "one"))
    changed = augment_dc(x, "crop_scale_rotate", generator(0, "one"))
    assert torch.bincount(kinds).sub(2000).abs().max() < 200  # over five standard deviations
    moved = torch.isin(changed, torch.cat([image.flatten(), x.mean((0, 2, 3))])).flatten(1).all(1)
    assert moved[kinds == 0].all() and not moved[kinds == 2].all()
    assert len({tuple(one.flatten().tolist()) for one in changed[kinds == 0]}) == 64
    assert not torch.equal(changed, x) and torch.equal(x[0], image[0])


def test_draws_depend_on_the_generator_alone():
    state = torch.random.get_rng_state()
    x = images(9, 3, 12, torch.float32)
    for name in (*DC_OPERATIONS, "_".join(DC_OPERATIONS)):
        first, again = (augment_dc(x, name, generator(0, "draws")) for _ in range(2))
        assert torch.equal(first, again)
        assert not torch.equal(first, augment_dc(x, name, generator(1, "draws")))
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("word", ["dc_crop_scale_rotate", "dc_crop_noise"])
def test_networks_train_with_it(word):
    def weights():
        made, _ = training({"augment": word, "epochs": 2})
        while not made.done:
            made.advance()
        return torch.cat([p.flatten() for p in made.network.parameters()])

    assert torch.equal(weights(), weights()) and weights().isfinite().all()


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("dc_crop_flip", "'flip' in the augmentation 'crop_flip' is none of crop, scale, rotate, noise"),
        ("dc_rotat", "did you mean rotate"),
        ("dc_", "none of crop, scale, rotate, noise"),
        ("noise", "none of color, crop"),
    ],
)
def test_words_that_name_nothing(word, sentence):
    with pytest.raises(BadInput, match=sentence):
        validate(TrainSettings, {**SETTINGS, "augment": word}, "t")
