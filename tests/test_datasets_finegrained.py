"""The fine-grained datasets from tiny archives of the published layouts: splits, labels, squares, and what is refused."""

import hashlib
import io
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from distillation.data.faults import Findings
from distillation.data.spaces import Space
from distillation.datasets import finegrained, load
from distillation.datasets.catalogue import CATALOGUE
from distillation.datasets.settings import SourceSettings
from distillation.params import validate
from distillation.runtime.errors import BadInput

SIZE = 32


def photograph(seed, mode="RGB"):
    """(pixels that ``squashed`` gives, JPEG) of an image that is no square."""
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 72, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(content, "JPEG")
    image = Image.open(io.BytesIO(content.getvalue())).convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    return np.asarray(image).transpose(2, 0, 1), content.getvalue()


def tar(path, files, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def mat(**variables):
    content = io.BytesIO()
    savemat(content, variables)
    return content.getvalue()


def cells(values):
    column = np.empty((len(values), 1), object)
    column[:, 0] = values
    return column


def annotations(names, labels):
    """Stanford Cars' structure: one entry an image, its box among the fields."""
    rows = [(8, 99, name, label) for name, label in zip(names, labels, strict=True)]
    return np.array([rows], [("bbox_x1", object), ("bbox_x2", object), ("fname", object), ("class", object)])


# (photographs by name, (name, label) of each split in the order that the dataset should have, its files)


def aircraft(folder):
    shots = {f"10{n}.jpg": photograph(n) for n in range(6)}
    top = "fgvc-aircraft-2013b/data"
    files = {f"{top}/images/{name}": content for name, (_, content) in reversed(shots.items())}
    files |= {
        f"{top}/images_variant_trainval.txt": b"103 F/A-18\n100 707-320\n101 F/A-18\n",
        f"{top}/images_variant_test.txt": b"102 F/A-18\n104 707-320\n",
        f"{top}/images_family_test.txt": b"102 none\n",
        f"{top}/images_box.txt": b"100 1 1 2 2\n",
    }
    train, test = [("100.jpg", 0), ("101.jpg", 1), ("103.jpg", 1)], [("104.jpg", 0), ("102.jpg", 1)]
    return shots, train, test, ["707-320", "F/A-18"], [tar(folder / "a.tar.gz", files)]


def cub(folder):
    names = ["001.Albatross/A_1.jpg", "001.Albatross/A_2.jpg", "002.Auklet/B_1.jpg", "002.Auklet/B_2.jpg"]
    shots = {name.rpartition("/")[2]: photograph(n, "L" if n == 1 else "RGB") for n, name in enumerate(names)}
    files = {f"CUB_200_2011/images/{name}": shots[name.rpartition("/")[2]][1] for name in names}
    files |= {
        "attributes.txt": b"none",
        "CUB_200_2011/images.txt": "".join(f"{n + 1} {name}\n" for n, name in enumerate(names)).encode(),
        "CUB_200_2011/train_test_split.txt": b"1 0\n2 1\n3 1\n4 0\n",
    }
    classes = ["001.Albatross", "002.Auklet"]
    return (
        shots,
        [("A_2.jpg", 0), ("B_1.jpg", 1)],
        [("A_1.jpg", 0), ("B_2.jpg", 1)],
        classes,
        [tar(folder / "c.tgz", files)],
    )


def dogs(folder):
    names = ["n1-Chihuahua/n1_5.jpg", "n1-Chihuahua/n1_7.jpg", "n2-Poodle/n2_1.jpg", "n2-Poodle/n2_3.jpg"]
    shots = {name.rpartition("/")[2]: photograph(n) for n, name in enumerate(names)}
    files = {f"Images/{name}": shots[name.rpartition("/")[2]][1] for name in names}
    lists = {
        "train_list.mat": mat(file_list=cells([names[3], names[0]]), labels=[[2], [1]]),
        "test_list.mat": mat(file_list=cells([names[1], names[2]]), labels=[[1], [2]]),
    }
    lists["file_list.mat"] = lists["train_list.mat"]
    paths = [tar(folder / "images.tar", files, "w"), tar(folder / "lists.tar", lists, "w")]
    return (
        shots,
        [("n1_5.jpg", 0), ("n2_3.jpg", 1)],
        [("n1_7.jpg", 0), ("n2_1.jpg", 1)],
        ["n1-Chihuahua", "n2-Poodle"],
        paths,
    )


def flowers(folder):
    shots = {f"image_{n:05d}.jpg": photograph(n) for n in range(1, 7)}
    (folder / "imagelabels.mat").write_bytes(mat(labels=np.array([[2, 1, 2, 1, 2, 1]], np.uint8)))
    sets = {"trnid": [[3, 2]], "valid": [[1, 6]], "tstid": [[4, 5]]}
    (folder / "setid.mat").write_bytes(mat(**{key: np.array(each, np.uint16) for key, each in sets.items()}))
    images = tar(folder / "102flowers.tgz", {f"jpg/{name}": content for name, (_, content) in shots.items()})
    train = [("image_00002.jpg", 0), ("image_00003.jpg", 1)]
    test = [("image_00004.jpg", 0), ("image_00005.jpg", 1)]
    return shots, train, test, ["001", "002"], [images, folder / "imagelabels.mat", folder / "setid.mat"]


def cars(folder):
    shots = {
        f"{split}/0000{n}.jpg": photograph(n + 10 * (split == "test")) for split in ("train", "test") for n in (1, 2)
    }
    paths = [
        tar(folder / f"{split}.tgz", {f"cars_{split}/0000{n}.jpg": shots[f"{split}/0000{n}.jpg"][1] for n in (1, 2)})
        for split in ("train", "test")
    ]
    names = ["00001.jpg", "00002.jpg"]
    devkit = {
        "devkit/cars_train_annos.mat": mat(annotations=annotations(names, [2, 1])),
        "devkit/cars_meta.mat": mat(class_names=cells(["Acura RL", "BMW M3"]).T),
        "devkit/cars_test_annos.mat": b"no labels",
    }
    (folder / "answers.mat").write_bytes(mat(annotations=annotations(names, [1, 2])))
    paths += [tar(folder / "devkit.tgz", devkit), folder / "answers.mat"]
    train, test = [("train/00002.jpg", 0), ("train/00001.jpg", 1)], [("test/00001.jpg", 0), ("test/00002.jpg", 1)]
    return shots, train, test, ["Acura RL", "BMW M3"], paths


LAYOUTS = {"aircraft": aircraft, "flowers": flowers, "cub": cub, "dogs": dogs, "cars": cars}


def test_every_reader_has_a_layout():
    assert LAYOUTS.keys() == finegrained.READERS.keys()


@pytest.mark.parametrize("name", LAYOUTS)
def test_official_splits_and_labels_of_squashed_images(tmp_path, name):
    shots, *wanted, classes, paths = LAYOUTS[name](tmp_path)
    *found, names = finegrained.READERS[name](*paths, SIZE, "auto", Findings())
    assert names == classes
    for split, rows in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(split.images.numpy(), [shots[file][0] for file, _ in rows])
        assert split.labels.tolist() == [label for _, label in rows] and split.images.dtype == torch.uint8
    grey = finegrained.READERS[name](*paths, SIZE, "grey", Findings())[0]
    assert grey.images.shape[1:] == (1, SIZE, SIZE)


@pytest.mark.parametrize("name", LAYOUTS)
def test_from_a_name_to_a_set_with_the_statistics_of_its_size(tmp_path, monkeypatch, name):
    (tmp_path / name).mkdir()
    *_, classes, paths = LAYOUTS[name](tmp_path / name)
    files = []
    for file, path in zip(CATALOGUE[name].files, paths, strict=True):
        content = path.read_bytes()
        (tmp_path / name / file.name).write_bytes(content)
        files.append(replace(file, bytes=len(content), checksum=f"sha256:{hashlib.sha256(content).hexdigest()}"))
    small = replace(CATALOGUE[name], files=tuple(files), classes=(), count=len(classes))
    monkeypatch.setitem(CATALOGUE, name, small)

    def read(size, **more):
        return load.read(validate(SourceSettings, {"name": name, "pixels": size, **more}, "targets.it"), tmp_path)

    for size in (32, 64, 224):
        made = read(size)
        assert made.shape == (3, size, len(classes)) and made.info["flip"] and made.info["stats"] == "published"
        assert made.space.same(Space.normalised(*CATALOGUE[name].resized[size]))
    assert read(48).info["stats"] == read(32, stats="computed").info["stats"] == "computed"
    with pytest.raises(BadInput, match=r"^targets\.it\.pixels is None.*differ in size"):
        read(None)


def test_published_splits_and_places():
    """What the papers' tables name; each dataset is downloaded or says where a person finds it."""
    counts = {"aircraft": 100, "flowers": 102, "cub": 200, "dogs": 120, "cars": 196}
    for name, count in counts.items():
        assert CATALOGUE[name].count == count and CATALOGUE[name].resized.keys() == {32, 64, 224}
        for mean, std in CATALOGUE[name].resized.values():
            assert len(mean) == len(std) == 3 and all(0.2 < value < 0.6 for value in mean) and max(std) < 0.31
        assert all(bool(file.urls) == (name != "cars") for file in CATALOGUE[name].files)


def test_a_dataset_whose_link_is_dead_says_so(tmp_path):
    settings = validate(SourceSettings, {"name": "cars", "pixels": 32}, "targets.cars")
    with pytest.raises(
        BadInput,
        match=r"^cars_train\.tgz has to be fetched by hand from a copy .* page is gone since 2023 .*: put cars_train",
    ) as caught:
        load.read(settings, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "at", "words"),
    [
        (
            "aircraft",
            "fgvc-aircraft-2013b/data/images/103.jpg",
            r"1 faulty file: 103\.jpg is missing, which its split names: fetch a\.tar\.gz again",
        ),
        ("aircraft", "fgvc-aircraft-2013b/data/images_variant_test.txt", r"lacks images_variant_test\.txt"),
        ("cub", "CUB_200_2011/images.txt", r"c\.tgz lacks images\.txt: fetch it again\.$"),
    ],
)
def test_an_archive_without_what_its_split_names_is_refused(tmp_path, name, at, words):
    *_, paths = LAYOUTS[name](tmp_path)
    with tarfile.open(paths[0]) as archive:
        kept = {m.name: archive.extractfile(m).read() for m in archive.getmembers() if m.name != at}
    with pytest.raises(BadInput, match=words):
        finegrained.READERS[name](tar(paths[0], kept), SIZE, "auto", Findings())


@pytest.mark.parametrize("content", [b"", b"nothing of use", mat(other=1)])
def test_a_broken_list_is_refused(tmp_path, content):
    *_, paths = flowers(tmp_path)
    paths[2].write_bytes(content)
    with pytest.raises(BadInput, match=r"^setid\.mat does not read as a MATLAB file with 'trnid': fetch it again\.$"):
        finegrained.flowers(*paths, SIZE, "auto", Findings())
