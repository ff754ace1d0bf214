"""Datasets whose images stay in files: the same bits as those in memory, everywhere, and files that are not what they were."""

import hashlib
import io
import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from distillation import params
from distillation.data.indexed import FOLDER, IndexedImages, indices_on
from distillation.data.real import FILE, RealSet
from distillation.datasets import archives, indexing, load
from distillation.datasets.settings import DatasetSettings, SourceSettings
from distillation.evaluation import cells
from distillation.evaluation import classify as students
from distillation.evaluation.sets import Whole, affords_all_pixels, random_choice
from distillation.methods.driver import updates
from distillation.params import Compute
from distillation.runtime import stage
from distillation.runtime.errors import BadInput, guarded
from distillation.runtime.files import load_json
from distillation.runtime.work import Task, locked_tasks
from distillation.teachers import objective as job
from distillation.teachers import objectives
from distillation.training.settings import LabelSettings
from stages import download
from tests.helpers.data import DIGITS
from tests.helpers.methods import method_of
from tests.helpers.pools import pool_in
from tests.helpers.selfsupervised import pool_settings_of
from tests.helpers.training import SETTINGS

pytestmark = pytest.mark.usefixtures("own_root")

torch.set_num_threads(1)
SIZE = 8


def picture(rank, height, width, grey=False, kind="PNG"):
    pixels = np.random.default_rng(rank).integers(0, 256, (height, width) if grey else (height, width, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind)
    return content.getvalue()


@pytest.fixture
def tree(tmp_path):
    """Photographs of all shapes, JPEG and PNG, two of them grey, in three classes."""
    root = tmp_path / "photos"
    for rank in range(30):
        split, number = ("train", rank) if rank < 21 else ("test", rank)
        kind = "JPEG" if rank % 2 else "PNG"
        path = root / split / "abc"[rank % 3] / f"{number}.{kind.lower()}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(rank, 9 + rank % 5, 8 + rank % 7, rank in (4, 25), kind))
    return root


def listed(root):
    """What sha256sum prints of all files, in a file beside them."""
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.*g"))
    lines = [f"{hashlib.sha256((root / name).read_bytes()).hexdigest()}  ./{name}\n" for name in names]
    (root / "SHA256SUMS").write_text("".join(lines))
    return root / "SHA256SUMS"


def read_in(tmp_path, path, form="index", **values):
    settings = {"name": "imagefolder", "archive": str(path), "pixels": SIZE, "form": form, **values}
    return load.read(params.validate(SourceSettings, settings, "sources.it"), tmp_path / "data/raw")


@pytest.fixture
def both(tmp_path, tree):
    """The dataset in memory and indexed, as stages find them."""
    found = {}
    for form in ("whole", "index"):
        read_in(tmp_path, tree, form).save(tmp_path / form)
        found[form] = RealSet.load(tmp_path / form)
    assert found["whole"].in_memory and not found["index"].in_memory
    return found


def same(whole, index):
    for one, other in ((whole.train, index.train), (whole.test, index.test)):
        assert torch.equal(one.images, other.images[torch.arange(len(other))])
        assert torch.equal(one.images, torch.cat(list(other.images.split(4))))
        assert torch.equal(one.labels, other.labels) and one.images.shape == other.images.shape
    assert whole.classes == index.classes and whole.space.same(index.space) and whole.shape == index.shape
    assert {key: index.info[key] for key in whole.info if key != "files"} == {
        key: value for key, value in whole.info.items() if key != "files"
    }


# Bits


@pytest.mark.parametrize("colour", ["auto", "rgb", "grey"])
def test_both_forms_are_the_same_bits(tmp_path, tree, colour):
    same(read_in(tmp_path, tree, "whole", colour=colour), read_in(tmp_path, tree, colour=colour))


@pytest.mark.parametrize("kind", ["gztar", "zip", "listing"])
def test_it_does_not_matter_where_the_files_come_from(tmp_path, tree, kind):
    whole, index = read_in(tmp_path, tree, "whole"), read_in(tmp_path, tree)
    path = listed(tree) if kind == "listing" else shutil.make_archive(tmp_path / "packed", kind, tmp_path, "photos")
    if kind != "listing":
        shutil.rmtree(tree)
    other = read_in(tmp_path, path)
    same(whole, other)
    assert (other.info["index"] == index.info["index"]) == (kind == "listing"), "paths begin at the archive's top"
    unpacked = tmp_path / FOLDER / other.info["index"]
    assert unpacked.is_symlink() == (kind == "listing") and not list((tmp_path / FOLDER).glob("*.partial"))


def test_a_listing_is_also_read_whole(tmp_path, tree):
    whole = read_in(tmp_path, tree, "whole")
    other = read_in(tmp_path, listed(tree), "whole")
    assert torch.equal(whole.train.images, other.train.images) and whole.space.same(other.space)


def test_the_container_is_one_file_that_names_no_folder(tmp_path, tree):
    read_in(tmp_path, tree).save(tmp_path / "here")
    elsewhere = shutil.copytree(tree, tmp_path / "other/photos")
    read_in(tmp_path, elsewhere).save(tmp_path / "there")
    here, there = ((tmp_path / name / FILE).read_bytes() for name in ("here", "there"))
    assert here == there and b"photos/" not in here and str(tmp_path).encode() not in here


def test_images_are_found_from_a_copy_of_the_repository(tmp_path, both, monkeypatch):
    (tmp_path / "copy").mkdir()
    monkeypatch.chdir(tmp_path / "copy")
    same(both["whole"], RealSet.load("../index"))


def test_the_stage_reads_an_archive_from_a_copy_of_the_repository(tmp_path, tree, monkeypatch, capsys):
    packed = shutil.make_archive(tmp_path / "packed", "gztar", tree)
    dataset = {**DIGITS, "name": "imagefolder", "archive": packed, "pixels": SIZE, "form": "index"}
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy/params.yaml").write_text(json.dumps({"dataset": dataset, "method": {"ipc": 1}}))
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setattr(download.process, "begin", lambda: None)  # the code does not stand in this folder
    assert guarded(download.run, "dataset") == 0
    found = RealSet.load("data/real/dataset")
    assert str(tmp_path / FOLDER / found.info["index"]) in capsys.readouterr().out
    shutil.rmtree(tree)
    assert found.train.images[torch.arange(21)].shape == (21, 3, SIZE, SIZE)


def test_what_stages_use_of_a_tensor(both):
    images, whole = both["index"].train.images, both["whole"].train.images
    assert len(images) == 21 and images.shape == (21, 3, SIZE, SIZE) and images.device == torch.device("cpu")
    mask = torch.arange(21) % 3 == 1
    some = images[mask]
    assert isinstance(some, IndexedImages) and some.shape == (7, 3, SIZE, SIZE)
    assert torch.equal(some[torch.tensor([6, 0, 6])], whole[mask][[6, 0, 6]])
    assert [len(part) for part in images.split(8)] == [8, 8, 5] and [len(p) for p in whole.split(8)] == [8, 8, 5]
    assert indices_on(images) == torch.device("cpu") and indices_on(torch.ones(1, device="meta")).type == "meta"
    assert images.to("meta")[torch.tensor([0])].device.type == "meta"


# Files that are not what they were


def refused(images, *words):
    with pytest.raises(BadInput) as caught:
        images[torch.arange(len(images))]
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value), caught.value


def test_a_changed_a_missing_and_a_lost_file_are_one_sentence(tmp_path, tree, both):
    images, path = both["index"].train.images, tree / "train/b/1.jpeg"
    content = path.read_bytes()
    path.write_bytes(picture(99, 10, 9, kind="JPEG"))
    refused(images, "train/b/1.jpeg has changed since it was indexed")
    path.write_bytes(content[:-1])
    refused(images, "train/b/1.jpeg has changed since it was indexed")
    path.unlink()
    refused(images, "train/b/1.jpeg cannot be read", "dvc repro -f -s download")
    path.write_bytes(content)
    assert len(images[torch.arange(21)]) == 21
    (tmp_path / FOLDER / both["index"].info["index"]).unlink()
    refused(images, str(FOLDER / both["index"].info["index"]) + " cannot be read", "put the images of the index there")


@pytest.mark.parametrize("content", [b"no image", picture(0, 9, 9)[:-40], b""])
def test_a_corrupt_image_is_found_as_it_is_indexed(tmp_path, tree, content):
    (tree / "test/a/24.png").write_bytes(content)
    with pytest.raises(BadInput, match=r"test/a/24.png does not decode"):
        read_in(tmp_path, tree)


def test_a_failed_reading_leaves_no_files(tmp_path, tree):
    (tree / "train/a/0.png").write_bytes(b"no image")
    packed = shutil.make_archive(tmp_path / "packed", "gztar", tree)
    with pytest.raises(BadInput, match=r"train/a/0.png does not decode"):
        read_in(tmp_path, packed)
    assert [path.suffix for path in (tmp_path / FOLDER).iterdir()] == [".lock"]


def test_reading_again_repairs_what_was_unpacked(tmp_path, tree):
    packed = shutil.make_archive(tmp_path / "packed", "gztar", tree)
    images = read_in(tmp_path, packed).train.images
    (images.root / images.paths[0]).write_bytes(b"damaged")
    refused(images, "has changed")
    read_in(tmp_path, packed)
    assert len(images[torch.arange(21)]) == 21


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"  ./test/a/24.png", b"  ./test/a/none.png", "test/a/none.png cannot be read"),
        (b"  ./test/a/24.png", b" test/a/24.png", "line 2 of another form"),
        (b"./test/a/24.png", b"../test/a/24.png", "leads out of it"),
        (b"./test/a/24.png", b"./test/a/new.png", "test/a/new.png has another sha256 than its line"),
    ],
)
def test_a_wrong_listing_is_one_sentence(tmp_path, tree, old, new, words):
    path = listed(tree)
    (tree / "test/a/new.png").write_bytes(picture(99, 9, 9))
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(BadInput, match=words):
        read_in(tmp_path, path)


def test_a_listing_is_pinned_by_its_own_digest(tree):
    path = listed(tree)
    assert archives.digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()


# When


def test_auto_is_an_index_above_a_number_of_bytes(tmp_path, tree, monkeypatch):
    total = 30 * 3 * SIZE**2
    for limit, in_memory in ((total, True), (total - 1, False)):
        monkeypatch.setattr(indexing, "WHOLE", limit)
        assert read_in(tmp_path, tree, "auto").in_memory == in_memory
    assert read_in(tmp_path, tree, "whole").in_memory and read_in(tmp_path, tree, "auto", colour="grey").in_memory


@pytest.mark.parametrize(
    ("values", "words"), [({"pixels": None}, "set pixels to 10"), ({"zca": True}, "set zca to false")]
)
def test_what_is_too_large_for_memory_wants_the_settings_of_an_index(tmp_path, tree, monkeypatch, values, words):
    monkeypatch.setattr(indexing, "WHOLE", 1000)
    with pytest.raises(BadInput, match=f"decoded when they are wanted.*{words}"):
        read_in(tmp_path, tree, "auto", **values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": "cifar10", "archive": "data/none"}, "cifar10 is read whole"),
        ({"zca": True}, "zca looks at all pixels"),
        ({"pixels": None}, "an index needs the number of pixels"),
    ],
)
def test_an_index_that_could_not_work_is_one_sentence(values, words):
    section = {**DIGITS, "name": "imagefolder", "archive": "x", "pixels": 8, "form": "index", **values}
    with pytest.raises(BadInput, match=f"dataset.form.*{words}"):
        params.validate(DatasetSettings, section, "dataset")


# Stages


def teacher(tmp_path, settings, name, word, form):
    work = job.Job(data=tmp_path / form, settings=settings, network=word, index=0)
    with locked_tasks([Task.of(f"teacher {name}", {"form": form})]) as (task,):
        objectives.load(name).make(work, task, "cpu")
    return (task.finished() / job.RESULT).read_bytes()


def test_a_supervised_teacher_is_the_same(tmp_path, both):
    pool = pool_settings_of("moco_v2")
    supervised = {**SETTINGS, "epochs": 1, "batch": 5, "augment": "crop_flip", "schedule": "milestones", "warmup": 0}
    supervised["crop"] = 0.08
    settings = objectives.load("supervised").settings(**supervised)
    pool = pool.model_copy(update={"objective": "supervised", "training": settings, "keep": ["last", "best_test"]})
    made = [teacher(tmp_path, pool, "supervised", "ConvNetW4D1BN", form) for form in both]
    assert made[0] == made[1]


def test_a_self_supervised_teacher_is_the_same(tmp_path, both):
    pool = pool_settings_of("moco_v2", change={"epochs": 1, "batch": 8})
    made = [teacher(tmp_path, pool, "moco_v2", pool.networks[0], form) for form in both]
    assert made[0] == made[1]


@pytest.mark.parametrize("name", ["random", "herding", "kcenter", "kmeans", "dm", "dsa"])
def test_methods_make_the_same_of_both(tmp_path, both, name):
    pool, made = pool_in(tmp_path / "pool"), {}
    for form, data in both.items():
        settings = {"batch_real": 4} if name in ("dm", "dsa") else {}
        method = method_of(name, pool, data, settings)
        for _ in itertools.islice(updates(method), 3):
            pass
        made[form] = method.result()
    assert torch.equal(made["whole"].images, made["index"].images)


def test_students_are_the_same_on_any_number_of_workers(tmp_path, both):
    settings = LabelSettings(**{**SETTINGS, "epochs": 2}, loss="ce")
    protocol = students.Protocol(kind="hard", settings=settings, precision="fp32", compile=False)
    sources, tasks = {"whole": Whole(), "random": random_choice(both["index"], 2, 0)}, {}
    for form, workers in (("whole", 1), ("index", 2)):
        rows = [cells.Cell(set=name, source=source, network="ConvNetW4D1", seed=0) for name, source in sources.items()]
        compute = Compute(device="cpu", locks="auto", workers=workers, threads=1, group=1, checkpoint=60.0)
        jobs = cells.jobs("whole", rows, protocol, tmp_path / form, both[form], compute)
        with stage.finished(students.train, jobs, compute) as tasks[form]:
            pass
    for one, other in zip(*tasks.values(), strict=True):
        records = [load_json(task.finished() / students.RECORD) for task in (one, other)]
        weights = [(task.finished() / students.WEIGHTS).read_bytes() for task in (one, other)]
        assert records[0] == records[1] and weights[0] == weights[1]


def test_baselines_that_look_at_all_pixels_are_left_out_and_said_to_be(both, capsys):
    for form, sets in (("whole", {"random", "kmeans", "mean"}), ("index", {"random"})):
        seeds = 1 if affords_all_pixels(both[form]) else 0
        assert {cell.set for cell in cells.baselines(both[form], ["ConvNet"], seeds, 2, 1)} == sets
    assert capsys.readouterr().err.count("no k-means and no class means") == 1
