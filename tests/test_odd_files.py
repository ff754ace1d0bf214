"""Files that are not what their name says: one sentence each, in bounded time and memory."""

import io
import json
import os
import signal
import socket
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from distillation.console.live import Live
from distillation.data import npz
from distillation.data.pickled import unpickled
from distillation.datasets import archives, downloads
from distillation.datasets.catalogue import File
from distillation.runtime import cost, files, keys, tensors
from distillation.runtime.errors import BadInput
from distillation.teachers.foreign import weights
from tests.helpers.data import noise_set
from tests.helpers.methods import method_of


@pytest.fixture(autouse=True)
def watched(tmp_path, monkeypatch):
    """A folder of the test; whoever waits for a FIFO is woken, and fails."""
    monkeypatch.chdir(tmp_path)
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits, or works, without end"))
    signal.alarm(60)
    yield
    signal.alarm(0)


def refused(load, *words):
    """The call ends in one sentence with these words, without much memory."""
    tracemalloc.start()
    try:
        with pytest.raises(BadInput) as caught:
            load()
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".") and len(sentence) < 600
    assert all(word in sentence for word in words), sentence


def imported(file):
    method = method_of("imported", data=noise_set(), settings={"file": str(file), "space": "raw", "labels": "hard"})
    method.advance()
    return method.result()


# Tensors

ODD = {
    "sparse_coo": lambda: torch.eye(3).to_sparse(),
    "sparse_csr": lambda: torch.eye(3).to_sparse_csr(),
    "meta": lambda: torch.zeros(3, 3, device="meta"),
    "qint8": lambda: torch.quantize_per_tensor(torch.zeros(3, 3), 0.1, 0, torch.qint8),
    "complex64": lambda: torch.zeros(3, 3, dtype=torch.complex64),
    "float8_e4m3fn": lambda: torch.zeros(3, 3).to(torch.float8_e4m3fn),
    "repeats few numbers": lambda: torch.zeros(1).expand(10**12),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("wrap", [lambda t: {"model": {"w": t}}, lambda t: {"data": [[t, t]]}, lambda t: t])
def test_odd_tensors_in_a_file_of_torch_are_one_sentence(kind, wrap):
    torch.save(wrap(ODD[kind]()), "a.pt")
    for load in (lambda: unpickled("a.pt", "cure"), lambda: weights.read("a.pt"), lambda: imported("a.pt")):
        refused(load, "a.pt has ", kind)


@pytest.mark.parametrize("kind", ["complex64", "float8_e4m3fn", "float8_e5m2", "uint16"])
def test_odd_tensors_in_safetensors_are_one_sentence(kind):
    save_file({"images": torch.zeros(2, 3).to(getattr(torch, kind)), "labels": torch.zeros(2)}, "a.safetensors")
    for load in (lambda: weights.read("a.safetensors"), lambda: imported("a.safetensors")):
        refused(load, "a.safetensors has 'images' as " + kind)


@pytest.mark.parametrize("dtype", ["F4", "F8_E8M0", "F6_E2M3", "F128"])
def test_types_that_torch_lacks_are_one_sentence(dtype):
    """As written by other versions or hands: the header names a type of 4, 6 or 8 bits, or one that no version knows."""
    header = json.dumps({"w": {"dtype": dtype, "shape": [8], "data_offsets": [0, 8]}}).encode()
    Path("a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    refused(lambda: weights.read("a.safetensors"), "a.safetensors ")


@pytest.mark.parametrize(
    "value", [np.zeros((3, 3), np.complex64), np.zeros(3, ">f4"), np.array(["a"]), np.zeros(3, "u2")]
)
def test_odd_arrays_are_one_sentence(value):
    np.savez("a.npz", images=value, labels=np.zeros(3))
    refused(lambda: imported("a.npz"), "a.npz ")


def numbered(shape, content=b"\0" * 64, descr="<f4"):
    """A npz file whose one array has a header of any shape."""
    header, file = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("images.npy", header.getvalue() + content)
    return file.getvalue()


@pytest.mark.parametrize("shape", [(10**12,), (10**6, 10**6), (2**62, 4), (-1,), (17,), (15,)])
def test_a_header_that_promises_other_numbers_than_there_are_is_refused_before_memory_is_taken(shape):
    Path("a.npz").write_bytes(numbered(shape))
    refused(lambda: imported("a.npz"), "a.npz does not read: images.npy has 64 bytes, but should have")


def test_an_npz_comes_back_whatever_its_order_and_shape():
    arrays = {
        "c": np.arange(6.0).reshape(2, 3),
        "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "one": np.float32(3),
    }
    np.savez("a.npz", **arrays, none=np.zeros((0, 3), np.int64))
    found, info = npz.load("a.npz")
    assert info is None and found["none"].shape == (0, 3)
    assert all(np.array_equal(found[name].numpy(), value) for name, value in arrays.items())


def test_bombs_are_refused_before_they_are_unpacked(monkeypatch):
    monkeypatch.setattr(files, "FLOOR", 1 << 20)
    monkeypatch.setattr(files, "RATIO", 50)
    np.savez_compressed("a.npz", images=np.zeros(1 << 20))
    refused(lambda: imported("a.npz"), "a.npz unpacks to 8,388,", "bomb")
    with zipfile.ZipFile("a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(8 << 20))
    refused(lambda: imported("a.pt"), "a.pt unpacks to 8,388,608 bytes", "bomb")


# Records and keys

DEEP = "[" * 100_000 + "]" * 100_000
RECORDS = [DEEP, "[" * 100_000, '{"a":' * 100_000, "{", "nothing", "1" * 5000, "\ud800"]


@pytest.mark.parametrize("text", RECORDS, ids=lambda text: f"{text[:3]!r} of {len(text)}")
def test_a_record_that_is_no_json_is_one_sentence(text):
    if text.isascii():
        tensors.save("a.safetensors", {"images": torch.zeros(1)}, {})
        save_file({"images": torch.zeros(1)}, "a.safetensors", {"info": text})
        refused(lambda: tensors.load("a.safetensors"), "the record of a.safetensors is no JSON")
        refused(lambda: imported("a.safetensors"), "the record of a.safetensors is no JSON")
        np.savez("a.npz", images=np.zeros(1), info=np.array(text))
        refused(lambda: imported("a.npz"), "the record of a.npz is no JSON")
    Path("a.json").write_bytes(text.encode(errors="surrogatepass"))
    refused(lambda: files.load_json("a.json"), "a.json is no JSON")


def test_a_record_of_any_size_is_refused_before_it_is_read():
    with open("a.json", "wb") as file:
        file.truncate(5 << 30)
    refused(
        lambda: files.load_json("a.json"), "a.json has 5,368,709,120 bytes, but no record of this pipeline has more"
    )


@pytest.mark.parametrize("text", ["[]", "3", "null", '"text"'])
def test_a_record_that_is_no_mapping_is_one_sentence(text):
    save_file({"images": torch.zeros(1)}, "a.safetensors", {"info": text})
    refused(lambda: tensors.load("a.safetensors"), "a.safetensors carries no record of what its numbers are")


@pytest.mark.parametrize("key", [1, None, (1, 2), 1.5, b"w"], ids=lambda key: type(key).__name__)
def test_keys_that_are_no_text_are_one_sentence(key):
    torch.save({key: torch.zeros(2)}, "a.pt")
    refused(lambda: weights.read("a.pt"), "a.pt holds no state dict")
    torch.save({key: torch.zeros(2).to_sparse()}, "a.pt")
    refused(lambda: unpickled("a.pt", "cure"), "a.pt has ", "sparse")


def test_lists_that_hold_themselves_or_go_deep_are_read():
    shared, deep = [], []
    for _ in range(60):
        shared = [shared, shared]
    for _ in range(100):
        deep = [deep]
    torch.save([shared, deep], "a.pt")
    refused(lambda: weights.read("a.pt"), "a.pt holds no state dict")


# What is no file


def fifo(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to("/dev/zero")


def folder(path):
    path.mkdir()


def plug(path):
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(path))


READERS = {
    "a.safetensors": [tensors.load, weights.read, imported],
    "a.npz": [npz.load, imported],
    "a.pt": [lambda path: unpickled(path, "cure"), weights.read, weights.sha256, imported],
    "a.json": [files.load_json, cost.read, keys.content_digest],
    "a.tar": [archives.digest, lambda path: list(archives.members(path))],
    "a.csv": [lambda path: Live(path).add(1, loss=0.5)],
    "x_syn.pt": [lambda path: imported(path.parent)],
    "y_syn.pt": [lambda path: imported(path.parent)],
}
CASES = [(name, reader) for name, readers in READERS.items() for reader in readers]


@pytest.mark.parametrize(
    ("put", "kind"), [(fifo, "a FIFO"), (device, "a device"), (plug, "a socket"), (folder, "a folder")]
)
@pytest.mark.parametrize(("name", "reader"), CASES)
def test_what_lies_in_place_of_a_file_is_named(tmp_path, put, kind, name, reader):
    if name.endswith("_syn.pt"):
        torch.save(torch.zeros(2, 3, 8, 8), tmp_path / ({"x": "y", "y": "x"}[name[0]] + "_syn.pt"))
    put(tmp_path / name)
    if (put, name) == (folder, "a.tar") or (put is folder and reader is keys.content_digest):
        reader(tmp_path / name)  # those take folders
    elif name == "x_syn.pt" or (put is folder and reader is imported):
        refused(lambda: reader(tmp_path / name))
    else:
        refused(lambda: reader(tmp_path / name), f"{name} is {kind}, but should be a file")


@pytest.mark.parametrize("name", ["a", "a.partial"])
def test_a_download_does_not_wait_for_what_lies_in_its_place(tmp_path, name):
    os.mkfifo(tmp_path / name)
    file = File("a", 3, "sha256:" + "0" * 64, ("file:///nowhere",))
    refused(lambda: downloads.fetch(file, tmp_path), f"{name} is a FIFO, but should be a file")


def test_a_listing_does_not_wait_for_a_fifo(tmp_path):
    (tmp_path / "sums").write_text(f"{'0' * 64}  a.png\n")
    os.mkfifo(tmp_path / "a.png")
    refused(lambda: list(archives.members(tmp_path / "sums")), "a.png is no regular file")


def test_a_name_with_a_zero_byte_is_one_sentence():
    refused(lambda: files.regular("a\0b"), "is no name of a file")
    refused(lambda: files.regular("a" * 300), "cannot be read (File name too long)")
