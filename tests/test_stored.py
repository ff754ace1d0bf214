"""Images as they are read from 8-bit files, held against PIL itself and against the steps of the published code."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from distillation.data.distilled import FILE, DistilledSet
from distillation.data.spaces import Space
from distillation.data.stored import as_read, encoded
from distillation.datasets.normalise import whitening
from distillation.labels.control import control
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator
from tests.helpers.data import RECORD, noise_set

SPACES = {"raw": Space.raw(), "normalised": noise_set().space, "whitened": whitening(noise_set().train.images)}
COUNT, SIDE = 5, 8


def raw_images(channels=3):
    """Values half way between two of 256, so that truncation does not hang on rounding; some are beyond black and white."""
    whole = torch.randint(-20, 275, (COUNT, channels, SIDE, SIDE), generator=generator(0, "raw"))
    return (whole + 0.5) / 255


def set_of(images, space):
    return DistilledSet(images, torch.arange(len(images)) % 3, None, space, {**RECORD, "method": "sre2l"})


@pytest.mark.parametrize("shape", [(SIDE, SIDE, 3), (17, 17, 3), (SIDE, SIDE, 1)])
@pytest.mark.parametrize("form", ["jpeg", "png"])
def test_files_are_those_that_pil_writes_unless_told_otherwise(form, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels.squeeze(2) if shape[2] == 1 else pixels).save(content, form)
    assert encoded(pixels, form) == content.getvalue()


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("form", ["jpeg", "png"])
def test_images_are_those_of_the_files_that_the_published_code_writes(tmp_path, form, space):
    """It truncates pixels of 0 to 1 to bytes and leaves the rest to PIL, by the name of the file."""
    raw = raw_images()
    made, read, size = as_read(set_of(space.encode(raw), space), form), [], 0
    for i, image in enumerate(raw.clamp(0, 1).numpy()):
        path = tmp_path / f"{i}.{form}"
        Image.fromarray((image.transpose(1, 2, 0) * 255).astype(np.uint8)).save(path)
        read.append(torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1))
        size += path.stat().st_size
    assert torch.equal(made.images, space.encode(torch.stack(read).float() / 255))
    assert made.space is space and made.pixels == form and made.bytes["images"] == size
    again = as_read(set_of(space.encode(raw), space), form)
    assert torch.equal(again.images, made.images) and again.info == made.info


@pytest.mark.parametrize("form", ["jpeg", "png"])
def test_grey_images_stay_grey(form):
    raw = raw_images(1)
    made = as_read(set_of(raw, Space.raw()), form)
    lost = (made.images * 255 - (raw.clamp(0, 1) * 255).floor()).abs()
    assert made.images.shape == raw.shape and (lost.max() < 1e-3 if form == "png" else 1 < lost.max() < 255)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_real_images_as_png_stay_as_they_are(space):
    """Though the way through a space leaves some values just below a whole step, which truncation would lower by one."""
    pixels = noise_set().train.images
    images = space.encode(pixels.float() / 255)
    assert torch.equal(as_read(set_of(images, space), "png").images, images)
    if space.kind != "raw":
        assert ((space.decode(images) * 255).floor() < pixels).any()


def test_a_file_says_what_its_images_are(tmp_path):
    plain = set_of(raw_images(), Space.raw())
    assert as_read(plain, "float") is plain and plain.pixels == "float" and plain.bytes["images"] == 4 * 5 * 3 * SIDE**2
    as_read(plain, "jpeg").save(tmp_path / FILE)
    found = DistilledSet.load(tmp_path / FILE)
    assert found.pixels == "jpeg" and found.bytes["images"] == found.info["image_bytes"] < plain.bytes["images"]


def test_a_control_is_not_taken_for_what_the_set_was_read_from():
    """As where an imported set was read from JPEGs before, and stays as it is."""
    distilled = as_read(set_of(noise_set().space.encode(raw_images()), noise_set().space), "jpeg")
    assert control(distilled, noise_set()).pixels == "float"


def test_images_of_other_channels_are_refused():
    made = set_of(torch.zeros(2, 2, SIDE, SIDE), Space.raw())
    with pytest.raises(BadInput, match=r"^relabel\.pixels is jpeg, which takes 1 or 3 channels, but the images have 2"):
        as_read(made, "jpeg")
    assert as_read(replace(made, images=torch.zeros(2, 2, SIDE, SIDE)), "float").pixels == "float"
