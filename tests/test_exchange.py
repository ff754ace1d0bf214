"""Sets that come and go: every layout people have is read, what leaves comes back to the same bits, and code is refused."""

import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from distillation import checks, params
from distillation.commands import export
from distillation.data import npz
from distillation.data.distilled import DistilledSet
from distillation.data.spaces import Space
from distillation.data.stored import as_read
from distillation.datasets.normalise import whitening
from distillation.export.card import card
from distillation.export.pictures import pngs
from distillation.methods.imported import Settings
from distillation.networks.build import build
from distillation.params import validate
from distillation.runtime.errors import BadInput, guarded
from distillation.runtime.random import generator
from distillation.training.loop import Training
from distillation.training.losses import loss_of
from distillation.training.settings import LabelSettings
from tests.helpers.clones import ROOT
from tests.helpers.data import CLASSES, IPC, SIZE, noise_set, ramp_set
from tests.helpers.methods import method_of
from tests.helpers.training import HARD as TRAINING

HARD = {**TRAINING, "augment": "dsa"}
COUNT, WIDTH = CLASSES * IPC, 5
LABELS = torch.arange(CLASSES).repeat_interleave(IPC)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setattr(export.process, "begin", lambda: None)  # the code does not stand in this folder
    torch.set_num_threads(1)


def imported(file, data=None, space="raw", labels="hard", **common):
    method = method_of("imported", data=data, settings={"file": str(file), "space": space, "labels": labels}, **common)
    method.advance()
    return method.result()


def targets_of(kind):
    draws = generator(0, "targets", kind)
    if kind == "hard":
        return None
    values = torch.randn(COUNT, WIDTH if kind == "features" else CLASSES, generator=draws)
    return values.softmax(1) if kind == "soft" else values


def made_set(kind="hard", exact=False, space=None, **info):
    """A set of the classes of ``noise_set`` in its space, as methods leave it; ``exact`` is of whole 8-bit pixels."""
    data, draws = noise_set(), generator(0, "made", kind)
    space = space or data.space
    pixels = torch.randint(0, 256, (COUNT, 3, SIZE, SIZE), generator=draws).float() / 255
    images = space.encode(pixels) if exact else torch.randn(COUNT, 3, SIZE, SIZE, generator=draws)
    about = {"labels": kind, "feed": "stored", "method": "dm", "ipc": IPC, "seed": 0, "dataset": "noise"}
    labels = None if kind == "features" else LABELS
    return DistilledSet(images, labels, targets_of(kind), space, {**about, "classes": ["a", "b", "c"], **info})


def exported(made, layout, path="out"):
    made.save("set.safetensors")
    assert guarded(export.run, layout, path, "set.safetensors") == 0
    return path


def same(ours, theirs):
    for name in ("images", "labels", "targets"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert (a is None and b is None) or (a.dtype == b.dtype and torch.equal(a, b)), name
    return ours.kind == theirs.kind and ours.space.same(theirs.space)


# Out and in again


@pytest.mark.parametrize("kind", ["hard", "soft", "logits", "regression", "features"])
def test_an_npz_comes_back_to_the_same_bits(kind):
    made = made_set(kind, space=Space.raw() if kind == "features" else None, teacher="main")
    found = imported(f"{exported(made, 'npz')}/distilled.npz", labels=kind)
    assert same(found, made)
    assert found.info["origin"] == "dm" and found.info["method"] == "imported" and found.info["teacher"] == "main"
    assert same(imported("set.safetensors", labels=kind), made), "the pipeline's own file, as it is"


def test_a_whitened_npz_comes_back_where_the_dataset_is_whitened_alike():
    data = noise_set(space=whitening(noise_set().train.images))
    made = made_set(space=data.space)
    file = f"{exported(made, 'npz')}/distilled.npz"
    assert same(imported(file, data=data), made)
    with pytest.raises(
        BadInput, match=r"distilled\.npz is whitened otherwise than the dataset: give the dataset the stats"
    ):
        imported(file)


def test_a_folder_comes_back_to_the_same_bits_where_the_set_has_8_bits(capsys):
    made = made_set(exact=True)
    folder = exported(made, "folder")
    assert same(imported(folder), made)
    assert "Every value of the images is one of 256: nothing is lost." in capsys.readouterr().out
    files = sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*.png"))
    assert files == [f"{'abc'[c]}/{i:06d}.png" for i, c in enumerate(LABELS.tolist())]


def test_what_a_folder_loses_is_said_and_true(capsys):
    made = made_set()
    folder = exported(made, "folder")
    raw, found = made.space.decode(made.images), imported(folder)
    back = found.space.decode(found.images)
    outside = (raw < 0) | (raw > 1)
    said = capsys.readouterr().out
    assert f"and {100 * float(outside.float().mean()):.2g} % of them, beyond black or white, are clipped." in said
    assert (back - raw).abs()[~outside].max() <= 0.5 / 255 + 1e-5
    assert said.strip().splitlines()[0].startswith("out: 6 images. PNG has 8 bits") and said.count("0.50 of 255") == 1
    text = Path(folder, "README.md").read_text()
    assert said.split(". ", 1)[1].strip() in text and "normalised: mean 0.4" in text


def student(made):
    """What a network that learns the set comes to."""
    settings = validate(LabelSettings, HARD, "evaluate.standard.hard")
    network = build("ConvNetW4D1", 3, SIZE, CLASSES, generator(0, "student"))
    how = settings, 0, "student", True, "fp32", False
    training = Training(network, lambda index: (made.images[index], made.labels[index]), COUNT, loss_of("ce"), *how)
    while not training.done:
        training.advance()
    return network.state_dict()


@pytest.mark.parametrize("layout", ["npz", "folder"])
def test_students_of_what_came_back_have_the_same_bits(layout):
    made = made_set(exact=True)
    out = exported(made, layout)
    found = imported(out if layout == "folder" else f"{out}/distilled.npz")
    ours, theirs = student(made), student(found)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    "names_of_classes",
    [["F/A-18", "100%", ".hidden"], ["$5_$10", "犬", "README.md"], ["a\nb", "c\r\x1b[31m", '"=1+1"']],
)
def test_names_of_classes_may_be_anything(names_of_classes):
    names = names_of_classes
    data = noise_set()
    data = replace(data, info={**data.info, "classes": names})
    made = made_set(exact=True, classes=names)
    assert same(imported(exported(made, "folder"), data=data), made)


@pytest.mark.parametrize("name", ["/" * 100, "\ud800", ""])
def test_a_class_that_no_folder_can_be_called_is_refused_for_folders_alone(capsys, name):
    made = made_set(classes=["a", name, "c"])
    made.save("set.safetensors")
    assert guarded(export.run, "folder", "out", "set.safetensors") == 2
    said = capsys.readouterr().err
    assert said.endswith("which no folder can be called: export it as npz or parquet.\n") and said.count("\n") == 1
    assert not Path("out").exists()
    assert guarded(export.run, "npz", "out", "set.safetensors") == 0


def test_text_of_data_is_no_markdown_of_the_card():
    origin, dataset = "a`b\n# c", "x](http://y) <b>\nz"
    written = card(made_set(origin=origin, dataset=dataset, teacher="``"), "npz", None, None)
    assert "(before: `` a`b # c ``)" in written and "- Teacher: pool ``` `` ```" in written
    assert r"# x\](http://y) \<b\> z, distilled to 6 images" in written.splitlines()


def test_the_same_set_gives_the_same_bytes():
    made, found = made_set("soft"), []
    for i in range(2):
        for layout in ("npz", "folder"):
            exported(made, layout, f"{layout}{i}")
    for layout in ("npz", "folder"):
        each = [sorted((p.name, p.read_bytes()) for p in Path(f"{layout}{i}").rglob("*.*")) for i in (0, 1)]
        found.append(each[0] == each[1])
    assert found == [True, True]


def test_grey_images_leave_as_grey():
    made = replace(made_set(), images=torch.rand(COUNT, 1, SIZE, SIZE), space=Space.raw())
    images, loss = pngs(made)
    assert Image.open(io.BytesIO(images[0])).mode == "L" and loss.clipped == 0 and 0.4 < loss.rounded <= 0.5
    with pytest.raises(BadInput, match=r"^the images have 2 channels, but PNG takes 1 or 3"):
        pngs(replace(made, images=torch.rand(COUNT, 2, SIZE, SIZE)))


def test_a_set_that_was_read_from_jpegs_leaves_as_their_pixels_and_says_so():
    made = as_read(made_set(), "jpeg")
    assert str(pngs(made)[1]).endswith("nothing is lost.") and not str(pngs(made_set())[1]).endswith("nothing is lost.")
    assert f"read from JPEG files of 8 bits, {made.bytes['images']:,} bytes" in card(made, "npz", None, None)
    assert "JPEG" not in card(made_set(), "npz", None, None)
    found = imported(f"{exported(made, 'npz')}/distilled.npz")
    assert found.pixels == "jpeg" and found.bytes == made.bytes and torch.equal(found.images, made.images)


# Parquet


def test_parquet_is_what_datasets_reads():
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as pq

    made = made_set("soft", exact=True)
    table = pq.read_table(f"{exported(made, 'parquet')}/data/train-00000-of-00001.parquet")
    assert table.column_names == ["image", "label", "target"] and table.num_rows == COUNT
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["label"] == {"names": ["a", "b", "c"], "_type": "ClassLabel"}
    assert features["target"]["length"] == CLASSES and table.schema.field("target").type.list_size == CLASSES
    assert table.schema.field("image").type == arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    rows = table.to_pylist()
    for row, image, label, target in zip(rows, made.images, made.labels, made.targets, strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))).transpose(2, 0, 1)
        assert torch.equal(made.space.encode(torch.tensor(pixels)[None] / 255)[0], image)
        assert row["label"] == int(label) and np.float32(row["target"]).tolist() == target.tolist()
    features = pq.read_schema(
        f"{exported(made_set('features'), 'parquet', 'more')}/data/train-00000-of-00001.parquet"
    ).names
    assert features == ["image", "target"], "images without classes have no label"


def test_without_pyarrow_one_sentence_says_how_to_install_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    made_set().save("set.safetensors")
    assert guarded(export.run, "parquet", "out", "set.safetensors") == 2
    assert (
        capsys.readouterr().err == "error: pyarrow is not installed: run `pip install -r requirements-parquet.txt`.\n"
    )
    assert not list(Path(".").glob("out*")), "nothing half-written is left"


# What leaves nothing behind


def test_a_path_that_is_taken_or_cannot_be_is_refused(capsys):
    made_set().save("set.safetensors")
    Path("file").write_text("mine")
    for path, words in (
        ("file", "file exists: name a new folder, or remove it first."),
        ("file/out", "file/out cannot be made, since file is a file: name another folder."),
    ):
        for layout in ("folder", "npz", "parquet"):
            assert guarded(export.run, layout, path, "set.safetensors") == 2
            assert capsys.readouterr().err == f"error: {words}\n"
    assert Path("file").read_text() == "mine"


def test_a_set_that_is_missing_or_cannot_leave_is_refused(capsys):
    assert guarded(export.run, "npz", "out", "none.safetensors") == 2
    assert "none.safetensors is missing" in capsys.readouterr().err
    made_set("features").save("set.safetensors")
    assert guarded(export.run, "folder", "out", "set.safetensors") == 2
    assert "has features and no classes, which folders are made of" in capsys.readouterr().err
    labelling = {"pick": "one", "mode": "eval", "temperature": 1.0}
    made_set("hard", labelling=labelling, label_bytes=1).save("set.safetensors")
    replace(made_set(), info={**DistilledSet.load("set.safetensors").info, "labels": "online"}).save("set.safetensors")
    assert guarded(export.run, "npz", "out", "set.safetensors") == 2
    assert "labels of kind online, which are a file of their own" in capsys.readouterr().err


# The card


@pytest.mark.parametrize("layout", ["folder", "npz", "parquet"])
def test_the_card_says_licence_and_origin(layout):
    teacher = {"pool": "main", "networks": ["ConvNet"], "accuracy": 81.5, "agreement": 90.0}
    made = made_set("soft", dataset="svhn", teacher=teacher)
    source = {"name": "svhn", "files": [{"name": "train_32x32.mat", "sha256": "4" * 64}]}
    text = card(made, layout, None, source)
    for words in (
        "license: other",
        "# svhn, distilled to 6 images",
        "## Licence and origin",
        "For non-commercial use only.",
        f"`train_32x32.mat`, sha256 `{'4' * 64}`",
        "soft, 3 numbers an image",
        "Made by: `dm`, seed 0",
        "Labelled by: ConvNet of the pool `main`, 81.5 % accurate",
    ):
        assert words in text, words
    assert text.startswith("---\n") and ("## Use it again" in text) == (layout != "parquet")
    assert "read from" not in card(made, layout, None, {**source, "name": "another"})
    assert "Those of whoever made it." in card(made_set(dataset="imagefolder"), layout, None, None)


# What people have


def kept(content, *path):
    file = Path(*path)
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, file)
    return file.parent


def test_krr_sts_files_are_fed_as_they_are():
    images, targets = torch.rand(COUNT, 3, SIZE, SIZE), torch.randn(COUNT, 512)
    kept(images.requires_grad_(), "set/x_syn.pt")
    found = imported(kept(targets, "set/y_syn.pt"), space="fed", labels="features")
    assert torch.equal(found.images, images.detach()) and torch.equal(found.targets, targets)
    assert found.space.kind == "raw" and found.labels is None and found.kind == "features"


def test_the_sets_that_krr_st_compares_with_have_labels_of_other_kinds():
    images = torch.randn(COUNT, 3, SIZE, SIZE)
    kept(images, "set/x_syn.pt")
    order = torch.arange(COUNT).flip(0)
    hard = imported(kept(LABELS[order], "set/y_syn.pt"), space="normalised")
    assert torch.equal(hard.labels, LABELS) and torch.equal(hard.images, images[LABELS[order].argsort(stable=True)])
    centred = torch.eye(CLASSES)[LABELS] - 1 / CLASSES
    soft = imported(kept(centred, "set/y_syn.pt"), space="normalised", labels="logits")
    assert torch.equal(soft.targets, centred) and torch.equal(soft.labels, LABELS) and torch.equal(soft.images, images)
    learnt = imported("set", space="normalised", labels="regression")
    assert learnt.kind == "regression" and torch.equal(learnt.targets, centred) and torch.equal(learnt.labels, LABELS)
    with pytest.raises(
        BadInput, match=r"has labels that are no probabilities: method\.imported\.labels should be logits\.$"
    ):
        imported("set", space="normalised", labels="soft")


@pytest.mark.parametrize("zca", [False, True])
def test_mtts_folder_is_in_the_datasets_space_and_says_its_learning_rate(capsys, zca):
    data = noise_set(space=whitening(noise_set().train.images)) if zca else noise_set()
    images = torch.randn(COUNT, 3, SIZE, SIZE)
    kept(images, "set/images_best.pt")
    kept(LABELS, "set/labels_best.pt")
    found = imported(kept(torch.tensor(0.0123), "set/lr_best.pt"), data=data, space="normalised")
    assert torch.equal(found.images, images) and torch.equal(found.labels, LABELS) and found.space.same(data.space)
    assert found.info["lr"] == pytest.approx(0.0123)
    assert "note: set was made for students that learn at the rate 0.0123.\n" in capsys.readouterr().err


def test_sre2ls_folders_are_classes_by_number(tmp_path):
    pixels = {}
    for c, i in ((2, 0), (0, 0), (1, 1), (0, 1), (1, 0), (2, 1)):
        folder = tmp_path / f"set/new{c:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        array = np.random.default_rng(c * IPC + i).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
        Image.fromarray(array).save(folder / f"class{c:03d}_id{i:03d}.jpg")
        pixels[c, i] = np.asarray(Image.open(folder / f"class{c:03d}_id{i:03d}.jpg")).transpose(2, 0, 1)
    found = imported("set")
    wanted = noise_set().encode(torch.tensor(np.stack([pixels[c, i] for c in range(3) for i in range(IPC)])))
    assert torch.equal(found.images, wanted) and torch.equal(found.labels, LABELS)
    (tmp_path / "set/new002").rename(tmp_path / "set/new003")
    with pytest.raises(BadInput, match=r"^set has the class 'new003', but the dataset's are a, b, c\.$"):
        imported("set")


def folder_of(images, name="pngs"):
    """A folder of PNGs, IPC of each class, of arrays (H, W) or (H, W, 3)."""
    for i, array in enumerate(images):
        path = Path(name, "abc"[i // IPC], f"{i}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)
    return name


def test_grey_images_in_files_of_three_channels_are_those_of_one():
    grey = np.random.default_rng(0).integers(0, 256, (COUNT, SIZE, SIZE), np.uint8)
    one = imported(folder_of(grey, "one"), data=ramp_set())
    three = imported(folder_of(np.repeat(grey[..., None], 3, -1), "three"), data=ramp_set())
    assert one.images.shape == (COUNT, 1, SIZE, SIZE) and torch.equal(one.images, three.images)


def test_images_with_colours_are_refused_where_the_dataset_is_grey():
    colours = np.random.default_rng(0).integers(0, 256, (COUNT, SIZE, SIZE, 3), np.uint8)
    with pytest.raises(
        BadInput, match=r"^pngs/a/0\.png has colours, but the dataset is grey: set dataset\.colour to rgb, or make"
    ):
        imported(folder_of(colours), data=ramp_set())


def test_all_faulty_images_of_a_folder_are_named_and_clutter_is_none():
    folder = Path(folder_of(np.zeros((COUNT, SIZE, SIZE, 3), np.uint8)))
    for name in ("Thumbs.db", ".DS_Store"):
        (folder / "a" / name).write_bytes(b"no image")
    assert len(imported(str(folder)).images) == COUNT
    for name in ("a/x.png", "b/y.png"):
        (folder / name).write_bytes(b"")
    with pytest.raises(BadInput, match=r"^pngs has 2 faulty files: a/x\.png .*; b/y\.png .*: mend or remove them\.$"):
        imported(str(folder))


class Code:
    def __reduce__(self):
        return print, ("this ran",)


@pytest.mark.parametrize("name", ["x_syn.pt", "y_syn.pt", "images_best.pt", "labels_best.pt", "lr_best.pt"])
def test_a_file_with_code_is_refused_unrun_wherever_it_lies(capsys, name):
    pair = {"x": ("x_syn.pt", "y_syn.pt"), "y": ("x_syn.pt", "y_syn.pt")}.get(
        name[0], ("images_best.pt", "labels_best.pt")
    )
    kept(torch.zeros(COUNT, 3, SIZE, SIZE), "set", pair[0])
    kept(LABELS, "set", pair[1])
    kept(Code(), "set", name)
    with pytest.raises(
        BadInput, match=rf"^set/{name} holds more than tensors .*could run code, and is refused: export .*\.$"
    ) as caught:
        imported("set")
    assert "\n" not in str(caught.value) and capsys.readouterr().out == ""


def test_an_npz_with_code_is_refused_unrun(capsys):
    np.savez("a.npz", images=np.zeros((COUNT, 3, SIZE, SIZE)), labels=np.array([Code()] * COUNT, dtype=object))
    with pytest.raises(
        BadInput, match=r"^a\.npz does not read: Object arrays cannot be loaded, since they are pickled\.$"
    ):
        imported("a.npz")
    assert capsys.readouterr().out == ""


IMAGES = torch.rand(COUNT, 3, SIZE, SIZE)


def damaged():
    """A compressed npz whose first bytes of data are no more what zlib wrote."""
    file = io.BytesIO()
    np.savez_compressed(file, images=IMAGES.numpy(), labels=LABELS.numpy())
    content = bytearray(file.getvalue())
    content[60:80] = b"\xff" * 20
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.pt", b"images, labels\n", "does not read as what torch.save writes: export images and labels"),
        ("a.pt", b"", "does not read as what torch.save writes"),
        ("a.pt", b"\x80\x02\xff", "does not read as what torch.save writes"),
        ("a.npz", b"", "does not read: "),
        ("a.npz", b"images, labels\n", "does not read: "),
        ("a.npz", damaged(), "does not read: Error -3 while decompressing"),
    ],
)
def test_a_broken_file_is_one_sentence(name, content, words):
    Path(name).write_bytes(content)
    with pytest.raises(BadInput, match=rf"^{name} {words}.*\.$") as caught:
        imported(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (
            {"images": IMAGES, "labels": torch.rand(COUNT, 512)},
            "hard",
            r"with labels \(6, 512\), but \(6\) are wanted",
        ),
        (
            {"images": IMAGES, "labels": torch.rand(COUNT, 512)},
            "soft",
            r"with labels \(6, 512\), but \(6, 3\) are wanted",
        ),
        (
            {"images": IMAGES, "labels": torch.rand(COUNT, 512)},
            "logits",
            r"\(6, 3\) .* method\.imported\.labels is logits\.$",
        ),
        (
            {"images": IMAGES, "labels": torch.rand(COUNT, 512)},
            "regression",
            r"\(6, 3\) .* method\.imported\.labels is regression\.$",
        ),
        ({"images": IMAGES, "labels": LABELS}, "features", r"with labels \(6,\), but \(6, D\) are wanted"),
        (
            {"images": IMAGES, "labels": torch.rand(COUNT - 1, 512)},
            "features",
            r"\(5, 512\), but \(6, D\) are wanted",
        ),
        (
            {"images": IMAGES, "labels": torch.full((COUNT, 4), torch.inf)},
            "features",
            "has labels with numbers that are not",
        ),
        ({"images": IMAGES, "labels": torch.full((COUNT,), 0.5)}, "hard", "labels that are no class numbers"),
        (
            {"images": IMAGES[:4], "labels": torch.rand(4, 512)},
            "features",
            r"has 4 images, but method\.ipc = 2 of 3 classes are 6",
        ),
        (
            {"images": IMAGES[:, :1], "labels": LABELS},
            "hard",
            r"images \(6, 1, 8, 8\), but \(N, 3, 8, 8\) are wanted\.$",
        ),
        ({"images": IMAGES.flatten(1), "labels": LABELS}, "hard", r"images \(6, 192\), but"),
    ],
)
def test_labels_and_images_of_another_shape_are_refused(content, kind, words):
    save_file({name: value.contiguous() for name, value in content.items()}, "a.safetensors")
    with pytest.raises(BadInput, match=words) as caught:
        imported("a.safetensors", labels=kind)
    assert "\n" not in str(caught.value)


WHITE = noise_set(space=whitening(noise_set().train.images))


@pytest.mark.parametrize(
    ("images", "space", "data", "words"),
    [
        (IMAGES * 255, "raw", None, r"from 0\.\d+ to 25\d\.\d+, but those of raw images are 0 to 1: divide"),
        ((IMAGES * 255).long(), "raw", None, "from 0 to 25"),
        (IMAGES * 2 - 1, "raw", None, r"pixels from -0\.9\d* to 0\.9\d*, but"),
        (
            IMAGES * 255,
            "fed",
            None,
            r"to 25\d\.\d+, .*: they diverged, or are in another space than method\.imported\.space says",
        ),
        (
            IMAGES * 255,
            "normalised",
            None,
            "but those of raw images are 0 to 1: they diverged, or are in another space",
        ),
        (
            IMAGES * 255,
            "normalised",
            WHITE,
            "but those of raw images are 0 to 1: they diverged, or are in another space",
        ),
        (IMAGES * torch.inf, "raw", None, "images with numbers that are not finite"),
        (
            IMAGES.index_fill(0, torch.tensor(0), torch.nan),
            "normalised",
            None,
            "images with numbers that are not finite",
        ),
        (IMAGES[:0], "raw", None, r"images \(0, 3, 8, 8\), but"),
    ],
)
def test_numbers_that_cannot_be_those_of_their_space_are_refused(images, space, data, words):
    save_file({"images": images.contiguous(), "labels": LABELS[: len(images)]}, "a.safetensors")
    with pytest.raises(BadInput, match=rf"^a\.safetensors has .*{words}.*\.$") as caught:
        imported("a.safetensors", data=data, space=space)
    assert "\n" not in str(caught.value)


def test_numbers_that_rounding_or_optimisation_left_outside_are_read():
    for images, space in ((IMAGES * 1.002 - 0.001, "raw"), (IMAGES * 20 - 10, "fed"), (IMAGES * 40 - 20, "normalised")):
        save_file({"images": images, "labels": LABELS}, "a.safetensors")
        assert imported("a.safetensors", space=space).images.isfinite().all()
    save_file({"images": (IMAGES * 255).to(torch.uint8), "labels": LABELS}, "a.safetensors")
    assert imported("a.safetensors").images.abs().max() < 5


def test_a_set_of_this_pipeline_is_held_against_its_space_too():
    made = made_set()
    replace(made, images=made.images * 255).save("set.safetensors")
    with pytest.raises(BadInput, match=r"^set\.safetensors has pixels from -\d.*, but those of raw images are 0 to 1"):
        imported("set.safetensors")


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (torch.tensor(-0.1), "that is -0.1, but should be one number above 0"),
        (torch.tensor(0.0), "that is 0, but"),
        (torch.tensor(torch.nan), "that is nan, but"),
        (torch.tensor(torch.inf), "that is inf, but"),
        (torch.zeros(3), r"of shape \(3,\), but"),
        ("fast", "should hold one number, not a str"),
        ([0.1], "should hold one number, not a list"),
    ],
)
def test_a_learning_rate_that_is_none_is_refused(rate, words):
    kept(torch.randn(COUNT, 3, SIZE, SIZE), "set/images_best.pt")
    kept(LABELS, "set/labels_best.pt")
    kept(rate, "set/lr_best.pt")
    with pytest.raises(BadInput, match=words) as caught:
        imported("set", space="normalised")
    assert "\n" not in str(caught.value)


def test_labels_far_above_the_classes_are_refused_before_they_are_counted():
    save_file({"images": IMAGES, "labels": LABELS + 10**15}, "a.safetensors")
    with pytest.raises(BadInput, match=r"labels from 10{15} to 10{14}2, but those of 3 classes are 0 to 2\.$"):
        imported("a.safetensors")


def test_half_a_pair_or_no_tensor_is_refused(tmp_path):
    kept(IMAGES, "set/x_syn.pt")
    with pytest.raises(BadInput, match=r"^set/y_syn\.pt is missing: images and labels belong together\.$"):
        imported("set")
    kept([1, 2], "set/y_syn.pt")
    with pytest.raises(BadInput, match=r"^set/y_syn\.pt should hold one tensor, not a list\.$"):
        imported("set")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"^empty has no images: they should lie in folders, one a class\.$"):
        imported("empty")


def test_a_set_that_says_otherwise_than_the_parameters_is_refused():
    file = f"{exported(made_set('features'), 'npz')}/distilled.npz"
    with pytest.raises(BadInput, match=r"has labels of kind features, but method\.imported\.labels is hard:"):
        imported(file)
    file = f"{exported(made_set(classes=['x', 'y', 'z']), 'npz', 'other')}/distilled.npz"
    with pytest.raises(BadInput, match="is of other classes than the dataset's: it was distilled from noise"):
        imported(file)
    npz.save("odd.npz", {"images": IMAGES, "labels": LABELS}, {"space": "raw"})
    with pytest.raises(BadInput, match=r"^odd\.npz carries a record that this pipeline did not write"):
        imported("odd.npz")


def test_check_knows_the_kind_of_imported_labels():
    given = params.load(ROOT / "params.yaml")
    section = {"file": "a.npz", "space": "fed", "labels": "features"}
    given.values["method"] |= {"name": "imported", "alpha": 0.0, "imported": section}
    with pytest.raises(BadInput, match=r"^the protocol standard trains classes, but the set is labelled with features"):
        checks.check_all(given)
    given.values["evaluate"]["protocols"] = []
    checks.check_all(given)
    with pytest.raises(BadInput, match=r"^method\.imported\.labels is 'vectors'"):
        validate(Settings, {**section, "labels": "vectors"}, "method.imported")
