"""Every reader of arrays on a few images written in the published byte format."""

import gzip
import io
import struct
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from distillation.datasets import arrays
from distillation.runtime.errors import BadInput

DRAWS = np.random.default_rng(0)


def pixels(*shape):
    return DRAWS.integers(0, 256, shape, np.uint8)


def tar(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def agree(split, images, labels):
    assert split.images.dtype == torch.uint8 and split.labels.dtype == torch.int64
    assert split.images.is_contiguous()
    np.testing.assert_array_equal(split.images.numpy(), images)
    assert split.labels.tolist() == list(labels)


def test_digits():
    (train, test), again = arrays.digits(), arrays.digits()
    assert train.images.shape == (1442, 1, 8, 8) and test.images.shape == (355, 1, 8, 8)
    assert train.labels.bincount().tolist() == [143, 146, 142, 147, 145, 146, 145, 144, 140, 144]
    assert test.labels.bincount().tolist() == [35, 36, 35, 36, 36, 36, 36, 35, 34, 36]
    values = sorted({round(v * 255 / 16) for v in range(17)})
    assert train.images.unique().tolist() == values and values[0] == 0 and values[-1] == 255
    assert torch.equal(train.images, again[0].images) and torch.equal(test.labels, again[1].labels)


def test_the_digits_split_takes_every_fifth_image_of_a_class():
    from sklearn.datasets import load_digits

    scans = load_digits()
    _, test = arrays.digits()
    threes = np.rint(scans.images[scans.target == 3] * 255 / 16)
    np.testing.assert_array_equal(test.images[test.labels == 3].squeeze(1), threes[4::5])


def test_mnist(tmp_path):
    paths, parts = [], []
    for n in (7, 3):
        images, labels = pixels(n, 28, 28), DRAWS.integers(0, 10, n).astype(np.uint8)
        parts.append((images[:, None], labels))
        for magic, array in ((0x803, images), (0x801, labels)):
            path = tmp_path / f"{len(paths)}.gz"
            header = struct.pack(f">{1 + array.ndim}I", magic, *array.shape)
            path.write_bytes(gzip.compress(header + array.tobytes()))
            paths.append(path)
    for split, (images, labels) in zip(arrays.mnist(*paths), parts, strict=True):
        agree(split, images, labels)


@pytest.mark.parametrize(
    "content",
    [
        b"not gzip",
        gzip.compress(struct.pack(">4I", 0x803, 2, 28, 28) + bytes(100)),
        gzip.compress(struct.pack(">4I", 0x903, 1, 28, 28) + bytes(784)),
        gzip.compress(b""),
        gzip.compress(bytes(5000))[:-9],
    ],
    ids=["not gzip", "short", "another magic", "empty", "cut off"],  # the bytes themselves hold the time
)
def test_a_broken_idx_file_is_named(tmp_path, content):
    (tmp_path / "broken.gz").write_bytes(content)
    with pytest.raises(BadInput, match="broken.gz"):
        arrays.mnist(*[tmp_path / "broken.gz"] * 4)


def test_svhn(tmp_path):
    from scipy.io import savemat

    images, labels = pixels(5, 3, 32, 32), np.array([10, 1, 9, 10, 5], np.uint8)
    for name in ("train.mat", "test.mat"):
        savemat(tmp_path / name, {"X": images.transpose(2, 3, 1, 0), "y": labels[:, None]})
    for split in arrays.svhn(tmp_path / "train.mat", tmp_path / "test.mat"):
        agree(split, images, [0, 1, 9, 0, 5])


def test_cifar10(tmp_path):
    images, labels = pixels(12, 3, 32, 32), np.arange(12, dtype=np.uint8) % 10
    records = [bytes([label]) + image.tobytes() for label, image in zip(labels, images, strict=True)]
    batches = {f"cifar-10-batches-bin/data_batch_{i + 1}.bin": b"".join(records[2 * i : 2 * i + 2]) for i in range(5)}
    batches = {"cifar-10-batches-bin/test_batch.bin": b"".join(records[10:])} | dict(reversed(batches.items()))
    path = tar(tmp_path / "cifar.tar.gz", {"cifar-10-batches-bin/readme.html": b"read", **batches})
    train, test = arrays.cifar10(path)
    agree(train, images[:10], labels[:10])
    agree(test, images[10:], labels[10:])


def test_cifar100_keeps_the_fine_label(tmp_path):
    images, fine = pixels(4, 3, 32, 32), [99, 0, 57, 3]
    records = [bytes([19, label]) + image.tobytes() for label, image in zip(fine, images, strict=True)]
    names = {"cifar-100-binary/test.bin": b"".join(records[3:]), "cifar-100-binary/train.bin": b"".join(records[:3])}
    train, test = arrays.cifar100(tar(tmp_path / "cifar.tar.gz", names))
    agree(train, images[:3], fine[:3])
    agree(test, images[3:], fine[3:])


def test_a_cifar_file_of_half_a_record_is_refused(tmp_path):
    path = tar(tmp_path / "cifar.tar.gz", {"c/train.bin": bytes(3074 + 1), "c/test.bin": bytes(3074)})
    with pytest.raises(BadInput, match="train.bin"):
        arrays.cifar100(path)


def test_stl10_columns_become_rows(tmp_path):
    images = {"train": pixels(3, 3, 96, 96), "test": pixels(2, 3, 96, 96)}
    labels = {"train": [1, 10, 4], "test": [2, 9]}
    members = {"stl10_binary/unlabeled_X.bin": b"never read", "stl10_binary/class_names.txt": b"airplane"}
    for split in images:
        members[f"stl10_binary/{split}_X.bin"] = images[split].transpose(0, 1, 3, 2).tobytes()
        members[f"stl10_binary/{split}_y.bin"] = bytes(labels[split])
    train, test = arrays.stl10(tar(tmp_path / "stl10.tar.gz", members))
    agree(train, images["train"], [0, 9, 3])
    agree(test, images["test"], [1, 8])


def npz(path, **batches):
    with zipfile.ZipFile(path, "w") as archive:
        for name, (images, labels) in batches.items():
            content = io.BytesIO()
            np.savez(content, data=images.reshape(len(images), -1), labels=labels, mean=np.zeros(12288))
            archive.writestr(f"{name}.npz", content.getvalue())
    return path


def test_imagenet64(tmp_path):
    images, labels = pixels(9, 3, 64, 64), np.array([1, 1000, 5, 6, 7, 2, 3, 4, 8])
    one = npz(tmp_path / "1.zip", batch_1=(images[:2], labels[:2]), batch_2=(images[2:5], labels[2:5]))
    two = npz(tmp_path / "2.zip", batch_3=(images[5:7], labels[5:7]))
    val = npz(tmp_path / "val.zip", val_data=(images[7:], labels[7:]))
    train, test = arrays.imagenet64(one, two, val, counts=(7, 2))
    agree(train, images[:7], labels[:7] - 1)
    agree(test, images[7:], labels[7:] - 1)
    with pytest.raises(BadInput, match="hold 7 images instead of 8"):
        arrays.imagenet64(one, two, val, counts=(8, 2))
    with pytest.raises(BadInput, match="more than 6"):
        arrays.imagenet64(one, two, val, counts=(6, 2))


def test_imagenet64_runs_no_pickle(tmp_path):
    path = npz(tmp_path / "1.zip", batch_1=(np.array([[{"a": 1}]], dtype=object), np.array([1])))
    with pytest.raises((BadInput, ValueError), match="pickle"):
        arrays.imagenet64(path, path, path, counts=(2, 1))
