"""Containers that are not what they should be: one sentence that names the file, whoever wrote it."""

import random

import pytest
import torch

from distillation.data import npz, real, valid
from distillation.data.distilled import FILE, DistilledSet
from distillation.data.real import RealSet
from distillation.data.spaces import Space
from distillation.labels.teacher_batches import NAMES, StoredBatches
from distillation.runtime import tensors
from distillation.runtime.errors import BadInput
from distillation.teachers import pool as pools
from distillation.teachers.pool import Pool
from tests.helpers.data import CLASSES, IPC, RECORD, SIZE, noise_set
from tests.helpers.pools import pool_in

COUNT, WIDTH = CLASSES * IPC, 5
IMAGES = torch.randn(COUNT, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(CLASSES).repeat_interleave(IPC)
LABELLING = {"pick": "one", "mode": "eval", "temperature": 2.0}
TARGETS = {
    "soft": torch.eye(CLASSES)[LABELS],
    "logits": IMAGES[:, 0, 0, :CLASSES].clone(),
    "regression": IMAGES[:, 0, 1, :CLASSES].clone(),
    "features": IMAGES[:, 0, 2, :WIDTH].clone(),
}


def set_of(kind="hard", **info):
    """A sound set of a kind."""
    about = {"labelling": LABELLING, "label_bytes": 7} if kind in ("online", "fkd") else {}
    record = {**RECORD, "labels": kind, **about, **info}
    labels = None if kind == "features" else LABELS
    return DistilledSet(IMAGES, labels, TARGETS.get(kind), noise_set().space, record)


def refused(path, load, words):
    with pytest.raises(BadInput) as caught:
        load()
    sentence = str(caught.value)
    assert str(path) in sentence and words in sentence and "\n" not in sentence and sentence.endswith("."), sentence


@pytest.mark.parametrize("kind", valid.Kind.__args__)
def test_a_sound_set_of_each_kind_is_read(tmp_path, kind):
    made = set_of(kind, lr=0.01, teacher="main", chosen=[3, 1])
    made.save(tmp_path / FILE)
    found = DistilledSet.load(tmp_path / FILE)
    assert torch.equal(found.images, made.images) and found.kind == kind and found.info["chosen"] == [3, 1]


def without(kind, *names):
    content, info = set_of(kind).packed()
    return {name: value for name, value in content.items() if name not in names}, info


NAN = IMAGES.clone().index_fill_(0, torch.tensor(1), torch.nan)
SETS = [  # kind, changed tensors, changed record, words
    ("hard", {}, {"lr": "fast"}, "record.lr is 'fast', but should be a valid number"),
    ("hard", {}, {"lr": -0.1}, "record.lr is -0.1, but should be greater than 0"),
    ("hard", {}, {"lr": float("nan")}, "record.lr is nan, but should be a"),
    ("hard", {}, {"lr": float("inf")}, "record.lr is inf, but should be a"),
    ("hard", {}, {"lr": True}, "record.lr is True"),
    ("hard", {}, {"labels": "vectors"}, "record.labels is 'vectors'"),
    ("hard", {}, {"labels": ["hard"]}, "record.labels is ['hard']"),
    ("hard", {}, {"ipc": 0}, "record.ipc is 0"),
    ("hard", {}, {"seed": 0.5}, "record.seed is 0.5"),
    ("hard", {}, {"classes": []}, "record.classes"),
    ("hard", {}, {"classes": ["a", 1, "c"]}, "record.classes.1 is 1"),
    ("hard", {}, {"chosen": [1.5]}, "record.chosen.0 is 1.5"),
    ("hard", {}, {"label_bytes": -1}, "record.label_bytes is -1"),
    ("hard", {}, {"space": "hsv"}, "record.space is 'hsv'"),
    ("hard", {}, {"space": "raw"}, "is raw, for which it should have {} float32"),
    ("hard", {}, {"space": None}, "record.space is 'None'"),
    ("soft", {"targets": None}, {}, "labels of kind soft without targets"),
    ("soft", {"targets": torch.full((7, CLASSES), 1 / CLASSES)}, {}, "targets (7, 3) float32, but (6, 3) float32"),
    ("soft", {"targets": torch.full((COUNT, CLASSES), -5.0)}, {}, "the targets are from -5 to -5"),
    ("soft", {"targets": torch.full((COUNT, CLASSES), 2.0)}, {}, "their sums from 6 to 6"),
    ("soft", {"targets": TARGETS["soft"].double()}, {}, "targets (6, 3) float64"),
    ("logits", {"targets": torch.full((COUNT, CLASSES), torch.inf)}, {}, "targets with numbers that are not finite"),
    ("logits", {"targets": torch.zeros(COUNT, CLASSES + 1)}, {}, "targets (6, 4) float32, but (6, 3)"),
    ("features", {"targets": torch.zeros(COUNT, 0)}, {}, "targets (6, 0) float32, but (6, F) float32"),
    ("features", {"targets": torch.zeros(COUNT)}, {}, "targets (6,) float32"),
    ("hard", {"targets": TARGETS["soft"]}, {}, "labels of kind hard with targets"),
    ("hard", {"labels": None}, {}, "labels of kind hard, but holds no labels"),
    (
        "hard",
        {"labels": torch.zeros(9, dtype=torch.int64)},
        {},
        "6 images, but labels (9,) int64: (6,) int64 are right",
    ),
    ("hard", {"labels": LABELS.int()}, {}, "labels (6,) int32"),
    ("hard", {"labels": LABELS + 10**9}, {}, "labels from 1000000000 to 1000000002, but those of 3 classes are 0 to 2"),
    ("hard", {"labels": LABELS - 1}, {}, "labels from -1 to 1"),
    ("hard", {"images": NAN}, {}, "images with numbers that are not finite"),
    ("hard", {"images": IMAGES.double()}, {}, "images (6, 3, 8, 8) float64"),
    ("hard", {"images": IMAGES.flatten(1)}, {}, "images (6, 192) float32"),
    ("hard", {"images": IMAGES[:, :2]}, {}, "images (6, 2, 8, 8)"),
    ("hard", {"images": IMAGES[..., :4]}, {}, "images (6, 3, 8, 4)"),
    ("hard", {"images": IMAGES[:0]}, {}, "images (0, 3, 8, 8)"),
    ("hard", {"images": None}, {}, "lacks 'images'"),
    ("hard", {"space.std": torch.tensor([0.2, 0.0, 0.2])}, {}, "the std"),
    ("hard", {"space.std": torch.tensor([0.2, torch.nan, 0.2])}, {}, "std with numbers that are not finite"),
    ("hard", {"space.mean": torch.zeros(1)}, {}, "is normalised, for which it should have"),
    ("online", {}, {"labelling": None}, "record.labelling is None"),
    ("hard", {}, {"lr": None}, "record.lr is None"),
    ("hard", {}, {"origin": None}, "record.origin is None"),
    ("hard", {}, {"pixels": 3}, "record.pixels is 3"),
    ("hard", {}, {"image_bytes": "x"}, "record.image_bytes is 'x'"),
    ("online", {}, {"labelling": {**LABELLING, "temperature": 0.0}}, "record.labelling.temperature is 0.0"),
    ("fkd", {"targets": TARGETS["soft"]}, {}, "labels of kind fkd with targets"),
]


@pytest.mark.parametrize(("kind", "content", "info", "words"), SETS)
def test_a_set_that_contradicts_itself_is_refused(tmp_path, kind, content, info, words):
    tensors_of_set, record = set_of(kind).packed()
    packed = {name: value for name, value in {**tensors_of_set, **content}.items() if value is not None}
    tensors.save(tmp_path / FILE, packed, {**record, **info})
    refused(tmp_path / FILE, lambda: DistilledSet.load(tmp_path / FILE), words)


@pytest.mark.parametrize("name", sorted(RECORD))
def test_a_record_of_a_set_that_lacks_an_entry_is_refused(tmp_path, name):
    content, info = set_of().packed()
    tensors.save(tmp_path / FILE, content, {key: value for key, value in info.items() if key != name})
    refused(tmp_path / FILE, lambda: DistilledSet.load(tmp_path / FILE), f"record.{name} is missing")


REAL = noise_set()
REALS = [  # changed tensors, changed record, words
    ({"train_images": REAL.train.images.float()}, {}, "train has images (36, 3, 8, 8) float32"),
    ({"test_images": REAL.test.images[:, :1].contiguous()}, {}, "test has images (36, 1, 8, 8)"),
    ({"train_labels": REAL.train.labels[:9].clone()}, {}, "train has 36 images, but labels (9,)"),
    ({"train_labels": REAL.train.labels + 10**9}, {}, "train has labels from 1000000000"),
    ({"test_labels": None}, {}, "lacks 'test_labels'"),
    ({}, {"index": "0" * 16}, "lacks 'train_paths' and 'train_sha256' and 'test_paths' and 'test_sha256'"),
    ({}, {"classes": "abc"}, "record.classes is 'abc'"),
    ({}, {"channels": 1}, "images (36, 3, 8, 8), but (N, 1, 8, 8) are right"),
    ({}, {"flip": "yes"}, "record.flip is 'yes'"),
    ({}, {"space": "whitened"}, "is whitened, for which it should have"),
]


@pytest.mark.parametrize(("content", "info", "words"), REALS)
def test_a_real_set_that_contradicts_itself_is_refused(tmp_path, content, info, words):
    REAL.save(tmp_path)
    before, record = tensors.load(tmp_path / real.FILE)
    changed = {name: value for name, value in {**before, **content}.items() if value is not None}
    tensors.save(tmp_path / real.FILE, changed, {**record, **info})
    refused(tmp_path / real.FILE, lambda: RealSet.load(tmp_path), words)


def paths_of(*names):
    return torch.tensor(list("\0".join(names).encode()), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("paths", "digests", "words"),
    [
        (
            paths_of("a/1.png", "../../etc/passwd"),
            torch.zeros(2, 32, dtype=torch.uint8),
            "'../../etc/passwd', which leads",
        ),
        (paths_of("a/1.png", "/etc/passwd"), torch.zeros(2, 32, dtype=torch.uint8), "'/etc/passwd', which leads out"),
        (paths_of("a/1.png", ""), torch.zeros(2, 32, dtype=torch.uint8), "the path ''"),
        (paths_of("a/1.png", "a/2.png"), torch.zeros(2, 16, dtype=torch.uint8), "digests (2, 16) uint8"),
        (paths_of("a/1.png"), torch.zeros(2, 32, dtype=torch.uint8), "1 paths, but digests (2, 32)"),
    ],
)
def test_an_index_that_leads_elsewhere_is_refused(tmp_path, paths, digests, words):
    labels, space = torch.zeros(2, dtype=torch.int64), REAL.space.packed()
    info = {**REAL.info, "space": "normalised", "index": "0" * 16, "colour": "rgb"}
    parts = {"paths": paths, "sha256": digests, "labels": labels}
    content = {f"{split}_{name}": part.clone() for split in ("train", "test") for name, part in parts.items()}
    tensors.save(tmp_path / real.FILE, {**content, **space}, info)
    refused(tmp_path / real.FILE, lambda: RealSet.load(tmp_path), words)


POOLS = [  # changed record, words
    ({"classes": ["a"]}, "is for 3 classes, but names 1"),
    ({"classes": "abc"}, "record.classes is 'abc'"),
    ({"shape": [3, 8]}, "record.shape"),
    ({"shape": [3, 8, -1]}, "record.shape.2 is -1"),
    ({"shape": [1, 8, 3]}, "is normalised, for which it should have"),
    ({"networks": []}, "record.networks"),
    ({"networks": [{"network": "ConvNetW8D2", "index": 0}]}, "record.networks.0.kept is missing"),
    (
        {"networks": [{"network": "ConvNet", "index": 0, "kept": [{"name": "last", "epoch": 9, "accuracy": 50.0}]}]},
        "lacks",
    ),
    ({"space": "raw"}, "is raw, for which it should have"),
]


@pytest.mark.parametrize(("info", "words"), POOLS)
def test_a_pool_that_contradicts_itself_is_refused(tmp_path, info, words):
    pool_in(tmp_path)
    content, record = tensors.load(tmp_path / pools.FILE)
    tensors.save(tmp_path / pools.FILE, content, {**record, **info})
    refused(tmp_path / pools.FILE, lambda: Pool(tmp_path), words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weight: weight * torch.nan, "that are not finite"),
        (lambda weight: weight[:1].clone(), "but the network as"),
        (lambda weight: None, "lacks"),
    ],
)
def test_weights_that_are_not_those_of_their_network_are_refused(tmp_path, change, words):
    pool_in(tmp_path)
    content, record = tensors.load(tmp_path / pools.FILE)
    name = next(name for name in content if name.endswith("classifier.weight"))
    changed = {**content, name: change(content[name])}
    tensors.save(tmp_path / pools.FILE, {n: value for n, value in changed.items() if value is not None}, record)
    pool = Pool(tmp_path)
    refused(tmp_path / pools.FILE, lambda: pool.network(pool.members[0]), words)


STORED = {
    "order": torch.arange(COUNT).int(),
    "boxes": torch.tensor([0, 0, SIZE, SIZE]).repeat(COUNT, 1).short(),
    "mirror": torch.zeros(COUNT, dtype=torch.bool),
    "partners": torch.tensor([0, 1, 2, 3, 0, 1]).int(),
    "logits": torch.zeros(COUNT, CLASSES).half(),
    "weight": torch.ones(2),
    "window": torch.zeros(2, 4).short(),
}


def stored(path, changes=(), **info):
    content = {f"0/{name}": value for name, value in {**STORED, **dict(changes)}.items() if value is not None}
    tensors.save(path, content, {"epochs": 1, "batch": 4, **info})
    return StoredBatches(IMAGES, Space.raw(), path, 1)


def test_sound_stored_labels_are_read(tmp_path):
    batches = stored(tmp_path / "a")
    assert STORED.keys() == set(NAMES) and torch.equal(batches(0, 1)[0], IMAGES[4:])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"order": torch.arange(COUNT).int() + 1}, "order that are not those of 6 images"),
        ({"order": torch.arange(5).int()}, "order (5,), but (6,) are right"),
        ({"partners": torch.tensor([0, 1, 2, 3, 0, 2]).int()}, "partners that are not those"),  # the last batch has two
        ({"logits": torch.full((COUNT, CLASSES), torch.nan).half()}, "logits that are not those"),
        ({"logits": torch.full((COUNT, CLASSES), torch.inf).half()}, "logits that are not those"),
        ({"logits": torch.zeros(COUNT, 0).half()}, "logits (6, 0)"),
        ({"boxes": STORED["boxes"] * 0}, "boxes that are not those"),
        ({"window": torch.full((2, 4), 9).short()}, "window that are not those"),
        ({"weight": torch.tensor([1.0, 1.5])}, "weight that are not those"),
        ({"mirror": None}, "lacks '0/mirror'"),
    ],
)
def test_stored_labels_of_other_images_are_refused(tmp_path, changes, words):
    refused(tmp_path / "a", lambda: stored(tmp_path / "a", changes)(0, 0), words)


@pytest.mark.parametrize("info", [{"epochs": "1"}, {"batch": 0}, {"batch": None}])
def test_a_record_of_stored_labels_that_is_wrong_is_refused(tmp_path, info):
    refused(tmp_path / "a", lambda: stored(tmp_path / "a", **info), f"record.{next(iter(info))} is ")


WRITERS = {  # name of a file, what writes it, what reads it
    "distilled.safetensors": (lambda path: set_of("soft").save(path), DistilledSet.load),
    "dataset.safetensors": (lambda path: REAL.save(path.parent), lambda path: RealSet.load(path.parent)),
    "teachers.safetensors": (lambda path: pool_in(path.parent), lambda path: Pool(path.parent)),
    "set.npz": (lambda path: npz.save(path, *set_of("soft").packed()), npz.load),
}


@pytest.mark.parametrize("name", WRITERS)
def test_whatever_bits_change_a_file_is_read_or_refused(tmp_path, name):
    write, read = WRITERS[name]
    write(tmp_path / name)
    sound, draws, outcomes = (tmp_path / name).read_bytes(), random.Random(0), set()
    for kind in ("bit", "cut", "bytes") * 40:
        content = bytearray(sound)
        place = draws.randrange(draws.choice([200, 2000, len(content)]) % len(content) or 1)
        if kind == "bit":
            content[place] ^= 1 << draws.randrange(8)
        elif kind == "cut":
            content = content[:place]
        else:
            content[place : place + 8] = draws.randbytes(8)
        (tmp_path / name).write_bytes(content)
        try:
            read(tmp_path / name)
            outcomes.add("read")
        except BadInput as error:
            assert "\n" not in str(error) and len(str(error)) < 700
            outcomes.add("refused")
    assert "refused" in outcomes
