"""Files that cannot be used, from a folder, a tar, a zip or a listing alike: named at once and refused, or skipped."""

import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from distillation.data.faults import Findings
from distillation.data.real import RealSet
from distillation.datasets import archives, folders, load
from distillation.datasets.settings import SourceSettings
from distillation.params import validate
from distillation.runtime.errors import BadInput, guarded
from stages import download
from tests.helpers.data import DIGITS

pytestmark = pytest.mark.usefixtures("own_root")

WAYS = ("dir", "tar", "zip", "listing")
FORMS = ("whole", "index")
SIZE = 8
NAMES = [f"{split}/{c}/{n}.png" for split in ("train", "test") for c in ("ant", "bee") for n in range(2)]


def picture(seed, mode="RGB"):
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(content, "PNG")
    return content.getvalue()


def sound():
    return {name: picture(seed) for seed, name in enumerate(NAMES)}


def packed(folder, way, files, empty=()):
    """A dataset of ``files`` (content by name, as text or bytes) and ``empty`` folders."""
    root = folder / "photos"
    if way == "tar":
        with tarfile.open(folder / "photos.tar", "w") as archive:
            for name in empty:
                entry = tarfile.TarInfo(name)
                entry.type = tarfile.DIRTYPE
                archive.addfile(entry)
            for name, content in files.items():
                entry = tarfile.TarInfo(os.fsdecode(name))
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        return folder / "photos.tar"
    if way == "zip":
        with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
            for name in empty:
                archive.writestr(f"{name}/", b"")
            for name, content in files.items():
                archive.writestr(zip_entry(os.fsencode(name)), content)
        return folder / "photos.zip"
    for name in empty:
        (root / name).mkdir(parents=True)
    for name, content in files.items():
        path = Path(os.fsdecode(os.path.join(os.fsencode(root), os.fsencode(name))))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    if way == "dir":
        return root
    lines = [hashlib.sha256(content).hexdigest().encode() + b"  " + os.fsencode(n) for n, content in files.items()]
    (root / "SHA256SUMS").write_bytes(b"".join(line + b"\n" for line in lines))
    return root / "SHA256SUMS"


class zip_entry(zipfile.ZipInfo):
    """An entry whose name is stored as these bytes, without the mark of UTF-8, as programs of Windows and macOS do."""

    def __init__(self, raw):
        super().__init__("x")
        self.raw = raw
        self.filename = self.orig_filename = raw.decode("cp437")

    def _encodeFilenameFlags(self):
        return self.raw, self.flag_bits


def read(tmp_path, path, form="whole", **values):
    section = {"name": "imagefolder", "archive": str(path), "pixels": SIZE, "form": form, **values}
    return load.read(validate(SourceSettings, section, "sources.it"), tmp_path / "raw")


def refusal(tmp_path, path, form="whole", **values):
    with pytest.raises(BadInput) as caught:
        read(tmp_path, path, form, **values)
    sentence = str(caught.value)
    assert "\n" not in sentence and " at 0x" not in sentence, sentence
    assert sentence.encode(), "no surrogates, which nobody can print"
    return sentence


def images_of(found):
    return found.train.images[torch.arange(len(found.train))]


# Named at once, refused or skipped


FAULTY = {f"train/ant/bad{n:02}.png": b"no image" for n in range(11)} | {"test/bee/empty.png": b""}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", WAYS)
def test_all_faulty_files_are_named_at_once(tmp_path, way, form):
    path = packed(tmp_path, way, sound() | FAULTY)
    named = "; ".join(
        f"train/ant/bad{n:02}.png does not decode as an image (cannot identify image file)" for n in range(9)
    )
    assert refusal(tmp_path, path, form) == (
        f"{path} has 12 faulty files: test/bee/empty.png does not decode as an image (it is empty); {named}; and 2 more: "
        "mend or remove them, or set the dataset's `faulty` to skip."
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", WAYS)
def test_skipped_files_leave_the_set_as_if_they_were_not_there_and_are_recorded(tmp_path, way, form):
    for name in ("clean", "faulty"):
        (tmp_path / name).mkdir()
    clean = read(tmp_path, packed(tmp_path / "clean", way, sound()), form)
    found = read(tmp_path, packed(tmp_path / "faulty", way, sound() | FAULTY), form, faulty="skip")
    assert torch.equal(images_of(clean), images_of(found)) and clean.space.same(found.space)
    assert found.info["skipped"].keys() == FAULTY.keys() and list(found.info["skipped"]) == sorted(FAULTY)
    assert found.info["skipped"]["test/bee/empty.png"] == "does not decode as an image (it is empty)"
    assert "skipped" not in clean.info and clean.skipped == {}
    found.save(tmp_path / "out")
    assert RealSet.load(tmp_path / "out").skipped == {"skipped": found.info["skipped"]}


def test_the_stage_says_what_it_skipped(tmp_path, monkeypatch, capsys):
    archive = str(packed(tmp_path, "tar", sound() | FAULTY))
    dataset = {**DIGITS, "name": "imagefolder", "archive": archive, "pixels": SIZE, "faulty": "skip"}
    (tmp_path / "params.yaml").write_text(json.dumps({"dataset": dataset, "method": {"ipc": 1}}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(download.process, "begin", lambda: None)  # the code does not stand in this folder
    assert guarded(download.run, "dataset") == 0
    assert "note: 12 faulty files skipped: test/bee/empty.png does not decode" in capsys.readouterr().err


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", WAYS)
def test_what_windows_and_macos_leave_in_folders_is_no_image(tmp_path, way, form):
    clutter = ("Thumbs.db", "desktop.ini", "Desktop.ini", "ehthumbs.db", ".DS_Store", "._0.png")
    files = sound() | {f"train/ant/{name}": b"no image" for name in clutter}
    assert len(read(tmp_path, packed(tmp_path, way, files), form).train) == 4


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", ["dir", "tar", "zip"])  # a listing has no folders
def test_an_empty_class_is_refused_and_never_vanishes(tmp_path, way, form):
    path = packed(tmp_path, way, sound(), empty=["train/cat", "test/cat", "train/.ipynb_checkpoints", "notes"])
    assert refusal(tmp_path, path, form) == (
        f"{path} has no image in test/cat/ and 1 more: every class needs one, so fill the folder or remove the class."
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", WAYS)
def test_a_class_whose_files_are_all_faulty_is_not_skipped(tmp_path, way, form):
    files = sound() | {f"{split}/cat/0.png": b"" for split in ("train", "test")}
    path = packed(tmp_path, way, files)
    assert "has no image in test/cat/ and 1 more" in refusal(tmp_path, path, form, faulty="skip")


def test_files_in_wrong_places_are_named_together(tmp_path):
    files = sound() | {"train/ant/deep/1.png": picture(1), "test/1.png": picture(2)}
    sentence = refusal(tmp_path, packed(tmp_path, "dir", files))
    assert "2 faulty files: test/1.png is not where an image should be" in sentence
    assert "train/ant/deep/1.png is not where" in sentence


def test_every_faulty_image_of_a_public_archive_is_named(tmp_path):
    names = [f"tiny-imagenet-200/train/n0{c}/images/n0{c}_{n}.JPEG" for c in (1, 2) for n in (0, 1)]
    files = {name: b"" if name.endswith("_1.JPEG") else picture(1) for name in names}
    with zipfile.ZipFile(tmp_path / "tiny.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr("tiny-imagenet-200/val/images/val_0.JPEG", picture(2))
        archive.writestr("tiny-imagenet-200/val/images/val_1.JPEG", picture(3))
        archive.writestr("tiny-imagenet-200/val/val_annotations.txt", "val_0.JPEG\tn01\nval_1.JPEG\tn02\n")
    findings = Findings()
    with pytest.raises(BadInput, match=r"2 faulty files: \S*n01_1.JPEG .*; \S*n02_1.JPEG does not decode"):
        folders.tinyimagenet(tmp_path / "tiny.zip", None, "auto", findings)
    train, _, classes = folders.tinyimagenet(tmp_path / "tiny.zip", None, "auto", Findings(skip=True))
    assert len(train) == 2 and classes == ["n01", "n02"]


# Names


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", WAYS)
def test_names_that_are_not_utf_8_are_faults_and_never_garbled(tmp_path, way, form):
    path = packed(tmp_path, way, sound() | {b"train/ant/caf\xe9.png": picture(9)})
    assert r"1 faulty file: train/ant/caf\xe9.png has a name that is not UTF-8" in refusal(tmp_path, path, form)
    found = read(tmp_path, path, form, faulty="skip")
    assert list(found.info["skipped"]) == [r"train/ant/caf\xe9.png"] and len(found.train) == 4
    found.save(tmp_path / "out")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", WAYS)
def test_names_in_utf_8_are_read_whether_a_zip_marks_them_or_not(tmp_path, way, form):
    files = {name.replace("ant", "猫"): content for name, content in sound().items()}
    assert read(tmp_path, packed(tmp_path, way, files), form).classes == ["bee", "猫"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", ["tar", "zip", "listing"])  # a folder cannot have it
def test_a_name_too_long_for_a_file_is_a_fault(tmp_path, way, form):
    name = f"train/ant/{'n' * 300}.png"
    if way == "listing":
        path = packed(tmp_path, way, sound())
        path.write_text(path.read_text() + f"{'0' * 64}  {name}\n")
    else:
        path = packed(tmp_path, way, sound() | {name: picture(9)})
    sentence = refusal(tmp_path, path, form)
    assert "1 faulty file" in sentence and ("304 bytes" in sentence or "File name too long" in sentence)
    assert len(read(tmp_path, path, form, faulty="skip").train) == 4


@pytest.mark.parametrize("name", [b"train/ant/\0.png", b"train/ant/9\0.png", b""])
def test_a_name_that_no_file_can_have_is_refused_and_no_image_vanishes(tmp_path, name):
    path = packed(tmp_path, "zip", sound())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zip_entry(name), picture(9))
    assert "a name that no file can have" in refusal(tmp_path, path, faulty="skip")


def test_a_zip_with_backslashes_is_read(tmp_path):
    files = {f"photos\\{name}".replace("/", "\\"): content for name, content in sound().items()}
    path = packed(tmp_path, "zip", files | {"photos\\test\\cat\\": b""})
    assert "no image in test/cat/" in refusal(tmp_path, path)
    path = packed(tmp_path, "zip", files)
    found = read(tmp_path, path)
    (tmp_path / "other").mkdir()
    assert torch.equal(images_of(found), images_of(read(tmp_path, packed(tmp_path / "other", "dir", sound()))))
    packed(tmp_path, "zip", files | {"photos\\..\\..\\up.png": picture(9)})
    assert "leads out of it" in refusal(tmp_path, path)


# Listings


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_listing_is_known_whatever_program_wrote_it(tmp_path, encoding, end):
    path = packed(tmp_path, "listing", sound())
    lines = path.read_text().splitlines()
    path.write_bytes(end.join([*(line[:64].upper() + line[64:] for line in lines), ""]).encode(encoding))
    assert archives.lists(path) and len(read(tmp_path, path).train) == 4


def test_a_listing_escapes_names_as_sha256sum_does(tmp_path):
    path = packed(tmp_path, "listing", sound())
    name = "train/ant/back\\slash\nnew.png"
    (path.parent / name).write_bytes(picture(9))
    digest = hashlib.sha256(picture(9)).hexdigest()
    path.write_text(path.read_text() + f"\\{digest}  train/ant/back\\\\slash\\nnew.png\n")
    assert len(read(tmp_path, path).train) == 5


# What is no regular file


def test_a_folder_of_linked_images_is_read(tmp_path):
    root = packed(tmp_path, "dir", sound())
    shutil.copytree(root, tmp_path / "store")
    for name in NAMES:
        (root / name).unlink()
        (root / name).symlink_to(tmp_path / "store" / name)
    for form in FORMS:
        found = read(tmp_path, root, form)
        assert torch.equal(images_of(found), images_of(read(tmp_path, tmp_path / "store")))
    assert archives.digest(root) == archives.digest(tmp_path / "store")


def test_a_linked_folder_is_refused_with_a_way_out(tmp_path):
    root = packed(tmp_path, "dir", sound())
    shutil.move(root / "train/ant", tmp_path / "ant")
    (root / "train/ant").symlink_to(tmp_path / "ant")
    assert refusal(tmp_path, root, faulty="skip") == (
        f"{root}/train/ant is a link to a folder: put the folder itself there (`cp -rL`)."
    )


@pytest.mark.parametrize("form", FORMS)
def test_links_to_nothing_and_pipes_are_faults_that_nobody_waits_for(tmp_path, form):
    root = packed(tmp_path, "dir", sound())
    (root / "train/ant/gone.png").symlink_to("nowhere")
    (root / "train/ant/loop.png").symlink_to("loop.png")
    os.mkfifo(root / "train/ant/pipe.png")
    os.mkfifo(root / "pipe")
    sentence = refusal(tmp_path, root, form)
    assert "3 faulty files: train/ant/gone.png cannot be read (No such file or directory); " in sentence
    assert "train/ant/pipe.png is no regular file" in sentence
    assert len(read(tmp_path, root, form, faulty="skip").info["skipped"]) == 3


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (tarfile.SYMTYPE, "--dereference"),
        (tarfile.LNKTYPE, "--hard-dereference"),
        (tarfile.FIFOTYPE, "no regular file"),
    ],
)
def test_links_in_a_tar_are_faults_with_a_way_out(tmp_path, kind, words):
    path = packed(tmp_path, "tar", sound())
    with tarfile.open(path, "a") as archive:
        entry = tarfile.TarInfo("train/ant/9.png")
        entry.type, entry.linkname = kind, "train/ant/0.png"
        archive.addfile(entry)
    sentence = refusal(tmp_path, path)
    assert "train/ant/9.png is" in sentence and words in sentence
    assert len(read(tmp_path, path, faulty="skip").train) == 4


@pytest.mark.parametrize("form", FORMS)
def test_a_sparse_file_of_5_gb_is_not_read(tmp_path, form, monkeypatch):
    root = packed(tmp_path, "dir", sound())
    with open(root / "train/ant/holes.png", "wb") as file:
        file.truncate(5 << 30)
    whole = Path.read_bytes
    monkeypatch.setattr(
        Path, "read_bytes", lambda path: pytest.fail("it was read") if path.name == "holes.png" else whole(path)
    )
    assert "train/ant/holes.png has 5,368,709,120 bytes, where" in refusal(tmp_path, root, form)
    assert len(read(tmp_path, root, form, faulty="skip").train) == 4


def test_the_first_image_may_be_faulty_where_it_tells_the_size(tmp_path):
    files = {"train/ant/!.png": b"no image"} | sound()
    assert re.search(
        r"1 faulty file: train/ant/!.png", refusal(tmp_path, packed(tmp_path, "dir", files), "auto", pixels=None)
    )
