"""Images in folders: layout, decoding, resizing, colour."""

import io
import random
import shutil
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from distillation.data.faults import Findings
from distillation.datasets import folders, pictures
from distillation.runtime.errors import BadInput

DRAWS = np.random.default_rng(1)


def image(height=6, width=6, channels=3, kind="PNG"):
    pixels = DRAWS.integers(0, 256, (height, width, channels) if channels > 1 else (height, width), np.uint8)
    return pixels, encoded(Image.fromarray(pixels), kind)


def encoded(picture, kind="PNG"):
    content = io.BytesIO()
    picture.save(content, kind)
    return content.getvalue()


def write(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


@pytest.fixture
def tree():
    """Names to (pixels, PNG), by split and class, in no order."""
    ranks = [("train", i) for i in range(3)] + [("test", i) for i in range(2)]
    names = [f"{split}/{c}/{i}.png" for split, i in ranks for c in ("cat", "ant")]
    random.Random(0).shuffle(names)
    return {name: image() for name in names}


def files(tree):
    return {name: content for name, (_, content) in tree.items()}


def same_as(tree, result):
    train, test, classes = result
    assert classes == ["ant", "cat"]
    for name, split in (("train", train), ("test", test)):
        wanted = [tree[path][0].transpose(2, 0, 1) for path in sorted(tree) if path.startswith(name)]
        np.testing.assert_array_equal(split.images.numpy(), wanted)
        assert split.labels.tolist() == [0] * (len(wanted) // 2) + [1] * (len(wanted) // 2)
        assert split.images.dtype == torch.uint8 and split.labels.dtype == torch.int64


@pytest.mark.parametrize("top", ["", "some/"])
@pytest.mark.parametrize("test", ["test", "val"])
@pytest.mark.parametrize("kind", ["dir", "tar", "gztar", "xztar", "zip"])
def test_imagefolder_reads_directories_and_archives_alike(tmp_path, tree, kind, test, top):
    contents = {top + name.replace("test/", f"{test}/"): content for name, content in files(tree).items()}
    clutter = {"README": b"text", top + "classes.txt": b"text", top + "train/ant/.hidden": b"", top + ".DS_Store": b""}
    path = write(tmp_path / "root", contents | clutter)
    if kind != "dir":
        path = shutil.make_archive(tmp_path / "packed", kind, path)
    same_as(tree, folders.imagefolder(path, None, "auto", Findings()))


def test_the_order_of_an_archive_does_not_matter(tmp_path, tree):
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        for name, content in files(tree).items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    same_as(tree, folders.imagefolder(tmp_path / "set.tar", None, "auto", Findings()))


def test_many_batches_keep_their_order(tmp_path, tree, monkeypatch):
    monkeypatch.setattr(pictures, "BATCH", 1)
    monkeypatch.setattr(pictures, "AHEAD", 2)
    same_as(tree, folders.imagefolder(write(tmp_path, files(tree)), None, "auto", Findings()))


def refused(path, *words, size=None):
    with pytest.raises(BadInput) as caught:
        folders.imagefolder(path, size, "auto", Findings())
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"train/bee/1.png": True}, ("'bee'", "train/ only")),
        ({"test/bee/1.png": True}, ("'bee'", "test/ only")),
        ({"train/ant/deep/1.png": True}, ("train/ant/deep/1.png", "layout")),
        ({"test/1.png": True}, ("test/1.png", "layout")),
        ({"val/ant/1.png": True}, ("both test/ and val/",)),
        ({"copy/train/ant/1.png": True}, ("more than one dataset", "copy")),
        ({"train/ant/notes.txt": b"no image"}, ("train/ant/notes.txt", "decode")),
        ({"train/ant/cut.png": 0.5}, ("train/ant/cut.png", "decode")),
        ({"train/ant/wide.png": (6, 7)}, ("train/ant/wide.png (7x6)", "test/ant/0.png (6x6)", "pixels")),
        ({"train/ant/large.png": (8, 8)}, ("train/ant/large.png (8x8)", "test/ant/0.png (6x6)", "pixels")),
    ],
)
def test_what_is_no_imagefolder_is_one_sentence(tmp_path, tree, extra, words):
    for name, kind in extra.items():
        content = image(*kind)[1] if isinstance(kind, tuple) else image()[1]
        if isinstance(kind, float):
            content = content[: int(len(content) * kind)]
        tree[name] = (None, kind if isinstance(kind, bytes) else content)
    refused(write(tmp_path, files(tree)), *words)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_split_is_one_sentence(tmp_path, tree, split):
    kept = {name: content for name, content in files(tree).items() if not name.startswith(split)}
    refused(write(tmp_path, kept), f"no images in {split}/")


def test_an_empty_directory_is_one_sentence(tmp_path):
    refused(tmp_path, "no images in train/")


def test_images_that_agree_but_are_no_squares_need_a_size(tmp_path):
    contents = {f"{split}/{c}/1.png": image(4, 8)[1] for split in ("train", "test") for c in "ab"}
    refused(write(tmp_path, contents), "8x4", "set the dataset's pixels")
    train, _, _ = folders.imagefolder(tmp_path, 4, "auto", Findings())
    assert train.images.shape == (2, 3, 4, 4)


def png_of(width, height):
    """A PNG whose header claims any size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    body = b"".join(struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("side", [10_000, 60_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb_is_refused(tmp_path, tree, side):
    refused(write(tmp_path, files(tree) | {"train/ant/bomb.png": png_of(side, side)}), "train/ant/bomb.png")


def test_sixteen_bits_are_refused_rather_than_cut(tmp_path, tree):
    deep = encoded(Image.fromarray(np.full((6, 6), 4000, np.uint16)))
    refused(write(tmp_path, files(tree) | {"train/ant/deep.png": deep}), "train/ant/deep.png", "8 bits")


@pytest.mark.parametrize(("colour", "channels"), [("auto", 1), ("grey", 1), ("rgb", 3)])
def test_grey_files(tmp_path, colour, channels):
    contents = {f"{split}/{c}/1.png": image(channels=1) for split in ("train", "test") for c in "ab"}
    train, _, _ = folders.imagefolder(write(tmp_path, files(contents)), None, colour, Findings())
    assert train.images.shape == (2, channels, 6, 6)
    for c in range(channels):
        np.testing.assert_array_equal(train.images[0, c], contents["train/a/1.png"][0])


def test_mixed_colours_are_rgb_and_grey_is_luma(tmp_path):
    contents = {f"{split}/{c}/1.png": image() for split in ("train", "test") for c in "ab"}
    contents["test/b/1.png"] = image(channels=1)
    train, test, _ = folders.imagefolder(write(tmp_path, files(contents)), None, "auto", Findings())
    assert train.images.shape[1] == test.images.shape[1] == 3
    np.testing.assert_array_equal(test.images[1], np.broadcast_to(contents["test/b/1.png"][0], (3, 6, 6)))
    train, _, _ = folders.imagefolder(tmp_path, None, "grey", Findings())
    luma = contents["train/a/1.png"][0] @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(train.images[0, 0], luma, atol=1)


@pytest.mark.parametrize("mode", ["1", "LA", "P", "RGBA", "CMYK"])
def test_other_kinds_of_pixels_are_converted(mode):
    content = encoded(Image.fromarray(image()[0]).convert(mode), "TIFF" if mode == "CMYK" else "PNG")
    pixels = pictures.decode([("x", content)])["x"]
    assert pixels.dtype == np.uint8 and pixels.shape == ((6, 6) if mode in ("1", "LA") else (6, 6, 3))


def test_a_size_takes_the_middle_square():
    pixels = np.zeros((40, 100, 3), np.uint8)
    pixels[:, 30:70] = (200, 100, 50)
    inside = pictures.decode([("x", encoded(Image.fromarray(pixels)))], 40)["x"]
    np.testing.assert_array_equal(inside, pixels[:, 30:70])
    small = pictures.decode([("x", encoded(Image.fromarray(pixels)))], 10)["x"]
    np.testing.assert_array_equal(small[:, 3:7], np.broadcast_to(np.array([200, 100, 50], np.uint8), (10, 4, 3)))


def test_resizing_is_antialiased():
    """A checkerboard of single pixels shrinks to its mean, where plain interpolation would keep extremes."""
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    small = pictures.reshape(torch.from_numpy(board)[None, None], 8)
    assert small.shape == (1, 1, 8, 8) and (small.int() - 128).abs().max() <= 2


@pytest.mark.parametrize("channels", [1, 3])
def test_reshaping_arrays_is_what_decoding_does(channels):
    pixels, content = image(12, 12, channels)
    images = torch.from_numpy(pixels.reshape(12, 12, channels).transpose(2, 0, 1)[None].copy())
    for colour, size in (("auto", 7), ("grey", None), ("rgb", 20)):
        wanted = pictures.decode([("x", content)], size, colour)["x"]
        found = pictures.reshape(images, size, colour)
        assert torch.equal(found, pictures.stack([wanted], 1 if wanted.ndim == 2 else 3))
    assert pictures.reshape(images, 12) is images


def tiny(path, contents, notes):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(f"tiny-imagenet-200/{name}", content)
        archive.writestr("tiny-imagenet-200/val/val_annotations.txt", notes)
        archive.writestr("tiny-imagenet-200/wnids.txt", "n02\nn01\n")
        archive.writestr("tiny-imagenet-200/train/n01/n01_boxes.txt", "n01_0.JPEG\t0\t0\t5\t5\n")
        archive.writestr("tiny-imagenet-200/test/images/test_0.JPEG", b"never read")
    return path


def test_tinyimagenet(tmp_path):
    contents = {f"train/{wnid}/images/{wnid}_{i}.JPEG": image(8, 8) for wnid in ("n02", "n01") for i in (1, 0)}
    contents |= {f"val/images/val_{i}.JPEG": image(8, 8, channels=1 if i == 2 else 3) for i in range(3)}
    notes = "".join(f"val_{i}.JPEG\t{wnid}\t0\t0\t7\t7\n" for i, wnid in enumerate(("n02", "n01", "n02")))
    train, test, classes = folders.tinyimagenet(
        tiny(tmp_path / "tiny.zip", files(contents), notes), None, "auto", Findings()
    )
    assert classes == ["n01", "n02"]
    wanted = [contents[f"train/{wnid}/images/{wnid}_{i}.JPEG"][0] for wnid in classes for i in (0, 1)]
    np.testing.assert_array_equal(train.images.permute(0, 2, 3, 1), wanted)
    assert train.labels.tolist() == [0, 0, 1, 1] and test.labels.tolist() == [0, 1, 1]
    np.testing.assert_array_equal(test.images[0].permute(1, 2, 0), contents["val/images/val_1.JPEG"][0])
    np.testing.assert_array_equal(test.images[2], np.broadcast_to(contents["val/images/val_2.JPEG"][0], (3, 8, 8)))
