"""Settings, statistics, ZCA, and the way from a name to a RealSet and to the stage's out."""

import hashlib
import io
import json
import math
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from distillation import checks
from distillation.data.real import RealSet, Split
from distillation.data.spaces import Space
from distillation.datasets import load, normalise
from distillation.datasets.archives import digest
from distillation.datasets.catalogue import CATALOGUE, facts
from distillation.datasets.settings import DatasetSettings, SourceSettings
from distillation.params import validate
from distillation.runtime.errors import BadInput, guarded
from stages import download, enough
from tests.helpers.data import DIGITS
from tests.helpers.parameters import product_params

SUBSET = Path(__file__).parents[2] / "shared/data/cifar10-jpeg-10pct.tar.xz"


def pair(mean, std, **more):
    return {"mean": mean, "std": std, **more}


def source(**values):
    return validate(SourceSettings, values, "sources.it")


def draws(*shape, low=0):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(low, 256, shape, generator=generator, dtype=torch.uint8)


# Catalogue and settings


def test_the_catalogue_is_complete():
    for name, dataset in CATALOGUE.items():
        for file in dataset.files:
            algorithm, checksum = file.checksum.split(":")
            assert len(checksum) == {"sha256": 64, "md5": 32}[algorithm] and int(checksum, 16)
            assert file.bytes > 0 and (file.page or all(url.endswith(file.name) for url in file.urls))
        if name != "imagefolder":
            assert facts(name).classes == len(dataset.classes) or (not dataset.classes and dataset.count > 1)
            assert len(set(dataset.classes)) == len(dataset.classes)
        for part in dataset.stats or ():
            assert len(part) == dataset.channels
    assert sorted(CATALOGUE["cifar100"].classes) == list(CATALOGUE["cifar100"].classes)
    assert [name for name, dataset in CATALOGUE.items() if not dataset.flip] == ["digits", "mnist", "svhn"]
    assert [name for name, dataset in CATALOGUE.items() if dataset.images is None] == ["imagefolder"]
    assert facts("cifar10") == (3, 32, 10) and facts("imagenet64") == (3, 64, 1000) and facts("imagefolder") is None


def test_a_source_needs_a_name_only_and_a_dataset_everything():
    wanted = {**DIGITS, "name": "cifar100"}
    assert source(name="cifar100").model_dump() == {**wanted, "sha256": None}
    assert validate(DatasetSettings, wanted, "dataset").model_dump() == wanted
    for missing in DIGITS:
        with pytest.raises(BadInput, match=f"dataset.{missing} is missing"):
            validate(DatasetSettings, {k: v for k, v in DIGITS.items() if k != missing}, "dataset")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": "cifar11"}, ("sources.it.name", "'cifar11'", "cifar10, cifar100")),
        ({"name": "imagefolder"}, ("sources.it.archive", "needs the path")),
        ({"name": "cifar10", "archive": "some.tar"}, ("sources.it.archive", "only imagefolder")),
        ({"name": "imagenette"}, ("sources.it.pixels", "differ in size")),
        ({"name": "cifar10", "size": 32}, ("sources.it has a size, which is now called pixels",)),
        ({"name": "cifar10", "pixels": 0}, ("sources.it.pixels", "0")),
        ({"name": "cifar10", "pixels": "32"}, ("sources.it.pixels", "'32'")),
        ({"name": "cifar10", "colour": "red"}, ("sources.it.colour", "'auto', 'rgb' or 'grey'")),
        ({"name": "cifar10", "stats": "imagenet"}, ("sources.it.stats is 'imagenet'", "published, computed", "svhn")),
        ({"name": "cifar10", "stats": "digits"}, ("sources.it.stats is 'digits'", "statistics are published")),
        ({"name": "cifar10", "stats": [0.5, 0.5]}, ("sources.it.stats", "{mean: [...], std: [...]}")),
        ({"name": "cifar10", "stats": {}}, ("sources.it.stats", "1 or 3 channels")),
        ({"name": "cifar10", "stats": {"mean": [0.5]}}, ("sources.it.stats", "1 or 3 channels")),
        ({"name": "cifar10", "stats": pair([0.5], [0.2], eps=0.1)}, ("sources.it.stats", "1 or 3 channels")),
        ({"name": "cifar10", "stats": pair([0.5] * 3, [0.2])}, ("sources.it.stats", "1 or 3 channels")),
        ({"name": "cifar10", "stats": pair([0.5] * 2, [0.2] * 2)}, ("sources.it.stats", "1 or 3 channels")),
        ({"name": "cifar10", "stats": pair([True], [0.2])}, ("sources.it.stats", "1 or 3 channels")),
        ({"name": "cifar10", "stats": pair([128], [64])}, ("sources.it.stats", "divide those of 0 to 255 by 255")),
        ({"name": "cifar10", "stats": pair([0.5], [0])}, ("sources.it.stats", "std above 0")),
        ({"name": "cifar10", "stats": pair([math.nan], [0.2])}, ("sources.it.stats", "means of 0 to 1")),
        (
            {"name": "cifar10", "stats": "svhn", "zca": True},
            ("sources.it.zca", "set stats to published or zca to false"),
        ),
        ({"name": "cifar10", "zca": 1}, ("sources.it.zca", "boolean")),
        ({"name": "cifar10", "root": "x"}, ("sources.it.root is not a setting",)),
    ],
)
def test_a_wrong_setting_is_one_sentence(values, words):
    with pytest.raises(BadInput) as caught:
        source(**values)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


# Statistics


PUBLISHED = {  # as the code that the entry names has them
    "mnist": ("DC", None, (0.1307,), (0.3081,)),
    "fashionmnist": ("DC", None, (0.2861,), (0.3530,)),
    "svhn": ("DC", None, (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "cifar10": ("DC", None, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ("DC", None, (0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
    "tinyimagenet": ("DC", None, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "imagenette": ("MTT", None, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "imagenet64": ("APM", None, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "aircraft": ("KRR-ST", 32, (0.4804, 0.5116, 0.5349), (0.2021, 0.1953, 0.2297)),
    "flowers": ("KRR-ST", 32, (0.4344, 0.3030, 0.2955), (0.2811, 0.2318, 0.2607)),
    "cub": ("KRR-ST", 32, (0.4857, 0.4995, 0.4324), (0.2145, 0.2098, 0.2496)),
    "dogs": ("KRR-ST", 32, (0.4765, 0.4516, 0.3911), (0.2490, 0.2435, 0.2479)),
    "cars": ("KRR-ST", 32, (0.4706, 0.4600, 0.4548), (0.2746, 0.2740, 0.2831)),
}


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_dataset_has_the_statistics_of_the_code_that_it_names(name):
    dataset = CATALOGUE[name]
    if name not in PUBLISHED:
        assert (dataset.stats, dataset.resized, dataset.origin) == (None, {}, "")
        return
    code, size, mean, std = PUBLISHED[name]
    assert dataset.origin.startswith(code)
    assert dataset.statistics(size or dataset.size or 128) == (mean, std)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(1, 9), channels=st.sampled_from([1, 3]))
def test_statistics_are_those_of_float64(seed, count, channels):
    images = np.random.default_rng(seed).integers(0, 256, (count, channels, 4, 4), np.uint8)
    mean, std = normalise.statistics(torch.from_numpy(images))
    np.testing.assert_allclose(mean, (images / 255).mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, (images / 255).std((0, 2, 3)), rtol=1e-10)


def test_statistics_do_not_depend_on_order_or_chunks(monkeypatch):
    images = draws(100, 3, 5, 5)
    whole = normalise.statistics(images)
    monkeypatch.setattr(normalise, "CHUNK", 7)
    assert normalise.statistics(images.flip(0)) == whole


def test_a_channel_of_one_value_is_one_sentence():
    images = draws(10, 3, 4, 4)
    images[:, 1] = 7
    with pytest.raises(BadInput, match="channel 1 .* one value only"):
        normalise.statistics(images)


def test_zca_is_the_published_one():
    images = draws(300, 3, 4, 4)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    space = normalise.whitening(images)
    assert torch.get_num_threads() == threads and torch.equal(torch.get_rng_state(), state)
    rows = images.flatten(1).double().numpy() / 255
    mean = rows.mean(0)
    values, vectors = np.linalg.eigh((rows - mean).T @ (rows - mean) / (len(rows) - 1))
    for name, wanted in (
        ("mean", mean),
        ("matrix", vectors @ np.diag((values + 0.1) ** -0.5) @ vectors.T),
        ("inverse", vectors @ np.diag((values + 0.1) ** 0.5) @ vectors.T),
    ):
        assert space.tensors[name].dtype == torch.float32 and space.tensors[name].shape == wanted.shape
        np.testing.assert_allclose(space.tensors[name], wanted, atol=2e-5)


def test_zca_does_not_depend_on_the_number_of_threads():
    before = torch.get_num_threads()
    try:
        spaces = [torch.set_num_threads(n) or normalise.whitening(draws(500, 3, 8, 8)) for n in (1, 2)]
    finally:
        torch.set_num_threads(before)
    assert spaces[0].same(spaces[1])


def test_zca_can_be_undone():
    raw = draws(300, 3, 4, 4).float() / 255
    space = normalise.whitening(draws(300, 3, 4, 4))
    encoded = space.encode(raw)
    assert not torch.allclose(encoded, raw, atol=0.1)
    torch.testing.assert_close(space.decode(encoded), raw, atol=1e-5, rtol=0)


def test_zca_of_large_images_or_of_one_is_one_sentence():
    with pytest.raises(BadInput, match="12,675 x 12,675"):
        normalise.whitening(draws(2, 3, 65, 65))
    with pytest.raises(BadInput, match="two training images"):
        normalise.whitening(draws(1, 3, 4, 4))


# From settings to a RealSet


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """A raw folder with a CIFAR-10 of 30 images, whose checksum the catalogue is made to expect."""
    images, labels = draws(30, 3072).numpy(), np.arange(30, dtype=np.uint8)[:, None] % 10
    records = np.concatenate([labels, images], axis=1)
    (tmp_path / "raw/cifar10").mkdir(parents=True)
    path = tmp_path / "raw/cifar10/cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, rows in (("data_batch_1.bin", records[:20]), ("test_batch.bin", records[20:])):
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            entry.size = rows.nbytes
            archive.addfile(entry, io.BytesIO(rows.tobytes()))
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    file = replace(CATALOGUE["cifar10"].files[0], bytes=path.stat().st_size, checksum=f"sha256:{checksum}")
    monkeypatch.setitem(CATALOGUE, "cifar10", replace(CATALOGUE["cifar10"], files=(file,)))
    return tmp_path / "raw"


def test_a_published_set(cifar10):
    found = load.read(source(name="cifar10"), cifar10)
    assert found.shape == (3, 32, 10) and len(found.train) == 20 and len(found.test) == 10
    assert found.space.same(Space.normalised((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)))
    file = CATALOGUE["cifar10"].files[0]
    assert found.info == {
        "name": "cifar10",
        "classes": list(CATALOGUE["cifar10"].classes),
        "channels": 3,
        "size": 32,
        "flip": True,
        "stats": "published",
        "files": [{"name": file.name, "sha256": file.checksum.removeprefix("sha256:")}],
    }
    assert [len(members) for members in found.members] == [2] * 10


def test_computed_statistics_are_those_of_the_training_images(cifar10):
    found = load.read(source(name="cifar10", stats="computed"), cifar10)
    assert found.info["stats"] == "computed"
    encoded = found.encode(found.train.images)
    torch.testing.assert_close(encoded.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(encoded.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("stats", "expected", "recorded"),
    [
        ("svhn", ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)), "svhn"),
        ("aircraft", ((0.4804, 0.5116, 0.5349), (0.2021, 0.1953, 0.2297)), "aircraft"),  # at the size of the images
        (pair([0.5, 0.25, 0], [0.5, 0.25, 0.1]), ((0.5, 0.25, 0.0), (0.5, 0.25, 0.1)), "given"),
    ],
)
def test_statistics_of_another_dataset_or_given_ones(cifar10, stats, expected, recorded):
    found = load.read(source(name="cifar10", stats=stats), cifar10)
    assert found.space.same(Space.normalised(*expected))
    assert found.info["stats"] == recorded


STRANGERS = [
    ({"stats": "mnist"}, "stats is the mean and std of grey images, but those of cifar10 are RGB"),
    ({"stats": pair([0.5], [0.2])}, "stats is the mean and std of grey images, but those of cifar10 are RGB"),
    ({"stats": "svhn", "colour": "grey"}, "stats is the mean and std of RGB images, but those of cifar10 are grey"),
    (
        {"stats": "flowers", "pixels": 48},
        "stats is flowers, whose mean and std are published for 32, 64, 224 pixels, but",
    ),
]


@pytest.mark.parametrize(("values", "sentence"), STRANGERS)
def test_statistics_that_do_not_fit_the_images_are_one_sentence(cifar10, values, sentence):
    with pytest.raises(BadInput, match=sentence):
        load.read(source(name="cifar10", **values), cifar10)


@pytest.mark.parametrize("section", ["dataset", "sources", "targets"])
@pytest.mark.parametrize(("values", "sentence"), STRANGERS)
def test_statistics_that_do_not_fit_are_refused_by_check(section, values, sentence):
    entry = {"name": "cifar10", **values}
    params = product_params({"dataset": {**DIGITS, **entry}} if section == "dataset" else {section: {"it": entry}})
    path = section if section == "dataset" else f"{section}.it"
    with pytest.raises(BadInput, match=rf"^{path}\.{sentence}"):
        checks.dataset.check(params)


def test_size_and_colour_of_a_published_set(cifar10):
    found = load.read(source(name="cifar10", pixels=16, colour="grey"), cifar10)
    assert found.shape == (1, 16, 10) and found.train.images.dtype == torch.uint8
    assert found.info["stats"] == "computed", "no statistics are published for its grey images"
    assert load.read(source(name="cifar10", pixels=16), cifar10).info["stats"] == "published"


def test_a_whitened_set(cifar10):
    found = load.read(source(name="cifar10", pixels=8, zca=True), cifar10)
    assert found.space.kind == "whitened" and found.space.tensors["matrix"].shape == (192, 192)


def test_md5_alone_still_records_sha256(cifar10, monkeypatch):
    file = CATALOGUE["cifar10"].files[0]
    content = (cifar10 / "cifar10" / file.name).read_bytes()
    file = replace(file, checksum=f"md5:{hashlib.md5(content).hexdigest()}")
    monkeypatch.setitem(CATALOGUE, "cifar10", replace(CATALOGUE["cifar10"], files=(file,)))
    recorded = load.read(source(name="cifar10"), cifar10).info["files"][0]["sha256"]
    assert recorded == hashlib.sha256(content).hexdigest()


def test_digits_need_no_file_and_no_global_generator(tmp_path):
    state = torch.get_rng_state()
    found = load.read(source(name="digits"), tmp_path)
    assert len(found.train) == CATALOGUE["digits"].images
    assert found.shape == (1, 8, 10) and (len(found.train), len(found.test)) == (1442, 355)
    assert found.info["stats"] == "computed" and not found.info["flip"] and found.info["files"] == []
    assert torch.equal(torch.get_rng_state(), state) and not list(tmp_path.iterdir())


def folder(root, labels=("a", "b")):
    names = [f"{split}/{label}/{n}.png" for split in ("train", "test") for label in labels for n in "12"]
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(root / name)
    return root


def test_an_imagefolder_is_the_same_from_a_directory_and_an_archive(tmp_path):
    root = folder(tmp_path / "mine")
    one = load.read(source(name="imagefolder", archive=str(root)), tmp_path)
    two = load.read(source(name="imagefolder", archive=shutil.make_archive(root, "gztar", root)), tmp_path)
    assert one.shape == (3, 8, 2) and one.classes == ["a", "b"] and one.info["flip"]
    assert torch.equal(one.train.images, two.train.images) and one.space.same(two.space)
    assert [found.info["files"][0]["name"] for found in (one, two)] == ["mine", "mine.tar.gz"]


def test_one_class_is_no_dataset(tmp_path):
    with pytest.raises(BadInput, match="two or more"):
        load.read(source(name="imagefolder", archive=str(folder(tmp_path, "a"))), tmp_path)


@pytest.mark.parametrize(
    ("labels", "words"),
    [([0, 1, 2], "from 0 to 1"), ([0, -1], "from 0 to 1"), ([], "from 0 to 1"), ([0, 0], "no test image of class 'b'")],
)
def test_labels_are_checked(monkeypatch, tmp_path, labels, words):
    good = Split(draws(2, 1, 4, 4), torch.tensor([0, 1]))
    bad = Split(draws(len(labels), 1, 4, 4), torch.tensor(labels, dtype=torch.int64))
    monkeypatch.setitem(load.folders.READERS, "imagefolder", lambda *_: (good, bad, ["a", "b"]))
    (tmp_path / "x").mkdir()
    with pytest.raises(BadInput, match=words):
        load.read(source(name="imagefolder", archive=str(tmp_path / "x")), tmp_path)


@pytest.mark.skipif(not SUBSET.is_file(), reason="no archive of real images here")
def test_real_images():
    found = load.read(source(name="imagefolder", archive=str(SUBSET)), "unused")
    assert found.shape == (3, 32, 10) and (len(found.train), len(found.test)) == (5000, 1000)
    mean = found.space.tensors["mean"]
    torch.testing.assert_close(mean, torch.tensor(CATALOGUE["cifar10"].stats[0]), atol=5e-3, rtol=0)


# The stage


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(download.process, "begin", lambda: None)  # the code does not stand in this folder
    monkeypatch.delenv("DVC_ROOT", raising=False)
    sections = {
        "dataset": DIGITS,
        "method": {"ipc": 1},
        "sources": {"small": {"name": "digits", "pixels": 4}},
        "targets": {},
    }
    (tmp_path / "params.yaml").write_text(json.dumps(sections))
    return tmp_path


def test_the_stage_writes_the_same_bytes_each_time(project):
    assert guarded(download.run, "dataset") == 0
    first = Path("data/real/dataset/dataset.safetensors").read_bytes()
    assert guarded(download.run, "dataset") == 0
    assert Path("data/real/dataset/dataset.safetensors").read_bytes() == first
    assert [path.name for path in Path("data/real").iterdir()] == ["dataset"]
    assert RealSet.load("data/real/dataset").shape == (1, 8, 10)


def test_the_stage_writes_sources(project, capsys):
    assert guarded(download.run, "sources/small") == 0
    assert RealSet.load("data/real/sources/small").shape == (1, 4, 10)
    assert "digits: 1,442 train and 355 test images, 10 classes, 4x4x1, computed statistics" in capsys.readouterr().out


@pytest.mark.parametrize("key", ["sources/none", "targets/small", "elsewhere/small", "sources/../x", "sources"])
def test_a_wrong_key_is_one_sentence(project, capsys, key):
    assert guarded(download.run, key) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not Path("data").exists()


def test_the_raw_folder_lies_under_the_root_of_dvc(project, cifar10, monkeypatch):
    root = project / "elsewhere"
    shutil.copytree(cifar10, root / "data/raw")
    monkeypatch.setenv("DVC_ROOT", str(root))
    Path("params.yaml").write_text(json.dumps({"dataset": {**DIGITS, "name": "cifar10"}, "method": {"ipc": 1}}))
    assert guarded(download.run, "dataset") == 0
    assert RealSet.load("data/real/dataset").info["name"] == "cifar10"


@pytest.mark.parametrize("before", [False, True])
def test_a_full_disk_leaves_what_was_there(project, monkeypatch, capsys, before):
    if before:
        assert guarded(download.run, "dataset") == 0

    def full(self, out):
        Path(out).mkdir(parents=True, exist_ok=True)
        (Path(out) / "dataset.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device", str(out))

    kept = {path: path.read_bytes() for path in Path("data").rglob("*.safetensors")}
    monkeypatch.setattr(RealSet, "save", full)
    assert guarded(download.run, "dataset") == 2
    assert "No space left" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path("data").rglob("*") if path.is_file()} == kept
    assert not list(Path("data").rglob("*.partial"))


def test_a_class_with_fewer_images_than_ipc_is_refused_before_teachers_are_trained(
    project, folder_archive, capsys, monkeypatch
):
    monkeypatch.setattr(enough.process, "begin", lambda: None)
    (folder_archive / "train/a/1.png").unlink()
    dataset = {**DIGITS, "name": "imagefolder", "archive": str(folder_archive)}
    Path("params.yaml").write_text(json.dumps({"dataset": dataset}))
    assert guarded(download.run, "dataset") == 0
    for ipc, status in ((2, 2), (1, 0)):
        Path("params.yaml").write_text(json.dumps({"method": {"ipc": ipc}}))
        capsys.readouterr()
        assert guarded(enough.run) == status
        assert Path("data/enough").exists() == (status == 0)
        assert capsys.readouterr().err == (status == 2) * (
            "error: method.ipc is 2, but imagefolder has fewer training images of 'a' (1): set it to 1 or less, or add "
            "images.\n"
        )


def test_the_archive_of_a_source_is_pinned(project, folder_archive, capsys):
    entry = {"name": "imagefolder", "archive": str(folder_archive), "stats": "computed"}
    for sha256, status in ((None, 2), ("0" * 64, 2), (digest(folder_archive), 0)):
        values = {**entry, **({"sha256": sha256} if sha256 else {})}
        (project / "params.yaml").write_text(json.dumps({"sources": {"mine": values}}))
        assert guarded(download.run, "sources/mine") == status
        assert ("sources.mine.sha256 must be" in capsys.readouterr().err) == (status == 2)


@pytest.fixture
def folder_archive(tmp_path):
    from PIL import Image

    for split in ("train", "test"):
        for i, name in enumerate("ab"):
            (tmp_path / "set" / split / name).mkdir(parents=True)
            Image.new("L", (8, 8), 60 * i + 40).save(tmp_path / "set" / split / name / "0.png")
            Image.new("L", (8, 8), 60 * i + 50).save(tmp_path / "set" / split / name / "1.png")
    return tmp_path / "set"
