"""Siamese augmentation against a plain loop over images written from the published formulas."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from distillation.augment import siamese
from distillation.augment.siamese import NUMBERS, apply, augment_batch, draw
from distillation.augment.strategy import OPERATIONS, operations, resolve
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator

ALL = "_".join(OPERATIONS)


def images(n, channels, size, dtype=torch.float64):
    return torch.randn(n, channels, size, size, dtype=dtype, generator=generator(0, "images"))


def whole(u, count):
    return math.floor(float(u) * count)


def color(x, u):
    x = x + (u[0] - 0.5)
    mean = x.mean(0, keepdim=True)
    x = (x - mean) * (2 * u[1]) + mean
    return (x - x.mean()) * (u[2] + 0.5) + x.mean()


def crop(x, u):
    size = x.shape[1]
    reach = int(size * 0.125 + 0.5)
    padded = F.pad(x, [reach] * 4)
    top, left = whole(u[0], 2 * reach + 1), whole(u[1], 2 * reach + 1)
    return padded[:, top : top + size, left : left + size]


def cutout(x, u):
    size = x.shape[1]
    side = int(size * 0.5 + 0.5)
    top, left = (whole(v, size + (1 if side % 2 == 0 else 0)) - side // 2 for v in u[:2])
    x = x.clone()
    x[:, max(top, 0) : top + side, max(left, 0) : left + side] = 0
    return x


def flip(x, u):
    return x.flip(2) if u[0] < 0.5 else x


def warp(x, theta, align_corners=True):
    grid = F.affine_grid(torch.tensor([theta], dtype=x.dtype), [1, *x.shape], align_corners=align_corners)
    return F.grid_sample(x[None], grid, align_corners=align_corners)[0]


def scale(x, u, align_corners=True):
    sx, sy = (1 / 1.2 + float(v) * (1.2 - 1 / 1.2) for v in u[:2])
    return warp(x, [[sx, 0, 0], [0, sy, 0]], align_corners)


def rotate(x, u, align_corners=True):
    angle = (2 * float(u[0]) - 1) * 15 * math.pi / 180
    cos, sin = math.cos(angle), math.sin(angle)
    return warp(x, [[cos, -sin, 0], [sin, cos, 0]], align_corners)


PLAIN = {"color": color, "crop": crop, "cutout": cutout, "flip": flip, "scale": scale, "rotate": rotate}


@pytest.mark.parametrize("name", OPERATIONS)
@settings(max_examples=15, deadline=None)
@given(size=st.integers(8, 64), channels=st.sampled_from((1, 3)), seed=st.integers(0, 2**31))
def test_each_operation_is_its_formula(name, size, channels, seed):
    x = images(4, channels, size)
    ops, u = draw(name, 4, 1, generator(seed, "draw"))
    expected = torch.stack([PLAIN[name](image, row) for image, row in zip(x, u[:, 0].double(), strict=True)])
    torch.testing.assert_close(apply(x, name, ops, u[:, 0]), expected, rtol=1e-12, atol=1e-12)
    single = apply(x.float(), name, ops, u[:, 0])
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, rtol=0, atol=4e-5)  # positions are float32 too


@pytest.mark.parametrize("extreme", [0.0, 1 - 2**-24])
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("size", [8, 9, 28, 32, 33, 224])
def test_extreme_draws(name, extreme, size):
    x, u = images(1, 1, size), torch.full((1, NUMBERS), extreme)
    expected = PLAIN[name](x[0], u[0].double())
    changed = apply(x, name, torch.zeros(1, dtype=torch.int64), u)[0]
    torch.testing.assert_close(changed, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("plain", [scale, rotate])
@pytest.mark.parametrize("size", [8, 9, 28, 32])
def test_aligning_corners_changes_nothing(plain, size):
    x, u = images(1, 3, size)[0], torch.tensor([0.1, 0.8])
    torch.testing.assert_close(plain(x, u, True), plain(x, u, False), rtol=1e-12, atol=1e-12)


def test_crop_and_flip_move_pixels_exactly():
    x = images(64, 3, 32, torch.float32)
    for name in ("crop", "flip"):
        changed = augment_batch(x, name, generator(0, "moves"))
        assert torch.isin(changed, torch.cat([x.flatten(), torch.zeros(1)])).all()
        assert not torch.equal(changed, x)


@pytest.mark.parametrize("name", OPERATIONS)
def test_gradients(name):
    x = images(2, 2, 6).requires_grad_()
    ops, u = draw(name, 2, 1, generator(0, "gradients"))
    assert torch.autograd.gradcheck(lambda v: apply(v, name, ops, u[:, 0]), (x,))
    assert torch.autograd.gradgradcheck(lambda v: apply(v, name, ops, u[:, 0]) ** 2, (x,), fast_mode=True)


def test_gradients_of_mixed_calls():
    x = images(6, 2, 6).requires_grad_()
    ops, u = torch.tensor([5, 1, 0, 5, 3, 4]), draw(ALL, 6, 1, generator(0, "mixed"))[1][:, 0]
    assert torch.autograd.gradcheck(lambda v: apply(v, ALL, ops, u), (x,), fast_mode=True)


@settings(max_examples=40, deadline=None)
@given(size=st.integers(8, 48), seed=st.integers(0, 2**31), kind=st.sampled_from(("scale", "rotate")))
def test_gathered_adjoint_is_the_adjoint(size, seed, kind):
    u = draw(kind, 3, 1, generator(seed, "adjoint"))[1][:, 0].double()
    u[0], u[1] = 0, 1  # the furthest that parameters go
    g = images(3, 2, size)
    x = torch.zeros_like(g, requires_grad=True)
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(siamese, "_warped", lambda images, matrix: seen.append(matrix))
        {"scale": siamese._scale, "rotate": siamese._rotate}[kind](x, u)
    (expected,) = torch.autograd.grad(siamese._sampled(x, seen[0]), x, g)
    torch.testing.assert_close(siamese._gathered(g, seen[0]), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", OPERATIONS)
def test_siamese_calls_share_their_parameters(name):
    image = images(1, 3, 16, torch.float32)
    real, synthetic = image.expand(7, -1, -1, -1), image.expand(2, -1, -1, -1)
    ops, u = draw(name, 1, 1, generator(0, "siamese"))
    changed = [apply(x, name, ops.expand(len(x)), u[0].expand(len(x), -1)) for x in (real, synthetic)]
    assert all(torch.equal(result, changed[1][0]) for half in changed for result in half)


def test_other_calls_do_not():
    image = images(1, 3, 16, torch.float32).expand(8, -1, -1, -1)
    for name in set(OPERATIONS) - {"flip"}:
        changed = augment_batch(image, name, generator(0, "own"))
        assert len({tuple(result.flatten().tolist()) for result in changed}) > 1


def test_calls_run_together_as_they_run_alone():
    x = images(30, 3, 32, torch.float32)
    ops, u = draw(ALL, 10, 1, generator(0, "together"))
    assert len(set(ops.tolist())) > 2
    together = apply(x, ALL, ops.repeat_interleave(3), u[:, 0].repeat_interleave(3, 0))
    for call in range(10):
        rows = slice(3 * call, 3 * call + 3)
        alone = apply(x[rows], ALL, ops[call].expand(3), u[call].expand(3, -1))
        assert torch.equal(together[rows], alone)


def test_operations_are_uniform():
    ops, u = draw(ALL, 60_000, 1, generator(0, "frequencies"))
    counts = torch.bincount(ops, minlength=6)
    assert (counts - 10_000).abs().max() < 500  # over five standard deviations
    assert u.min() >= 0 and u.max() < 1


def test_nothing_is_mirrored_on_digits():
    digits = resolve("auto", False)
    ops, _ = draw(digits, 1000, 1, generator(0, "digits"))
    assert {operations(digits)[op] for op in ops} == set(OPERATIONS) - {"flip"}


def test_draws_depend_on_the_generator_alone():
    state = torch.random.get_rng_state()
    first, again = (draw(ALL, 5, 4, generator(0, "draws")) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert first[1].shape == (5, 4, NUMBERS) and first[0].dtype == torch.int64
    assert not torch.equal(first[1], draw(ALL, 5, 4, generator(1, "draws"))[1])
    assert torch.equal(draw("crop", 5, 4, generator(0, "draws"))[1], first[1])
    for name in (*OPERATIONS, ALL):
        augment_batch(images(3, 1, 8).requires_grad_(), name, generator(0, "batch")).sum().backward()
    assert torch.equal(torch.random.get_rng_state(), state)


def test_none_changes_nothing():
    x = images(2, 1, 8)
    assert augment_batch(x, "none", generator(0, "none")) is x


def test_words():
    assert resolve("auto", True) == "color_crop_cutout_flip_scale_rotate"
    assert resolve("auto", False) == "color_crop_cutout_scale_rotate"
    assert resolve("flip_crop", False) == "flip_crop"
    assert resolve("none", True) == "none"


@pytest.mark.parametrize(
    ("strategy", "sentence"),
    [
        ("crop_rotat", "did you mean rotate"),
        ("colour", "did you mean color"),
        ("", "is none of"),
        ("flip_flip", "twice"),
    ],
)
def test_words_that_name_nothing(strategy, sentence):
    for use in (operations, lambda word: resolve(word, True), lambda word: draw(word, 1, 1, generator(0, "x"))):
        with pytest.raises(BadInput, match=sentence):
            use(strategy)


def test_images_must_be_square():
    with pytest.raises(BadInput, match="square images, not 8 x 9"):
        apply(torch.zeros(1, 1, 8, 9), "crop", torch.zeros(1, dtype=torch.int64), torch.zeros(1, NUMBERS))
