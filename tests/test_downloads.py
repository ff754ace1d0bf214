import hashlib
import http.server
import multiprocessing
import re
import socket
import threading
import time

import pytest

from distillation.datasets import downloads
from distillation.datasets.catalogue import File
from distillation.runtime.errors import BadInput

CONTENT = bytes(range(256)) * 2000
WRONG = bytes(len(CONTENT))


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; the words of the path say how badly, or with what it can do."""

    def do_GET(self):
        self.server.log.append((self.path, self.headers["Range"]))
        modes = self.path.split("/")[1].split("-")
        if "missing" in modes:
            return self.send_error(404)
        if "slow" in modes:
            time.sleep(0.3)
        content = WRONG if "corrupt" in modes else CONTENT + b"more" if "more" in modes else CONTENT
        asked = re.match(r"bytes=(\d+)-", self.headers["Range"] or "")
        start = int(asked[1]) if asked and "ranges" in modes else 0
        self.send_response(206 if start else 200)
        if start:
            shown = 0 if "lie" in modes else start
            self.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
            content = content[shown:]
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        cut = "cut" in modes and len(self.server.log) <= 3
        self.wfile.write(content[: len(content) // 3] if cut else content)

    def log_message(self, *_):
        pass


class Recorder:
    """A stand-in for the progress bar."""

    made = []

    def __init__(self, label, total, unit):
        self.label, self.total, self.unit, self.count = label, total, unit, 0
        Recorder.made.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def advance(self, count):
        self.count += count


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(downloads, "Progress", Recorder)
    monkeypatch.setattr(Recorder, "made", [])
    monkeypatch.setattr(downloads, "PAUSE", 0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("DD_MIRROR", raising=False)


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.log = []
        server.at = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def published(*urls, name="set.bin", algorithm="sha256"):
    checksum = hashlib.new(algorithm, CONTENT).hexdigest()
    return File(name, len(CONTENT), f"{algorithm}:{checksum}", urls, page="the owners")


def nothing_but(folder, *names):
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")} == set(names)


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_download_is_verified_and_kept(server, tmp_path, algorithm):
    file = published(f"{server.at}/ranges/set.bin", algorithm=algorithm)
    folder = tmp_path / "raw" / "some"
    assert downloads.fetch(file, folder) == folder / "set.bin"
    assert (folder / "set.bin").read_bytes() == CONTENT
    assert nothing_but(folder, "set.bin")
    (bar,) = Recorder.made
    assert (bar.label, bar.total, bar.unit, bar.count) == ("set.bin", len(CONTENT), "B", len(CONTENT))
    downloads.fetch(file, folder)
    assert len(server.log) == 1, "what is there is not downloaded again"


def test_an_interrupted_download_resumes(server, tmp_path):
    file = published(f"{server.at}/ranges-cut/set.bin")
    assert downloads.fetch(file, tmp_path).read_bytes() == CONTENT
    starts = [0 if asked is None else int(asked[6:-1]) for _, asked in server.log]
    assert starts[0] == 0 and starts == sorted(set(starts)) and len(starts) == 4
    assert Recorder.made[-1].count == len(CONTENT), "progress begins where the download resumes"


def test_what_a_killed_process_left_is_resumed(server, tmp_path):
    (tmp_path / "set.bin.partial").write_bytes(CONTENT[:1000])
    assert downloads.fetch(published(f"{server.at}/ranges/set.bin"), tmp_path).read_bytes() == CONTENT
    assert server.log == [("/ranges/set.bin", "bytes=1000-")]


def test_a_partial_file_that_is_whole_needs_no_network(tmp_path):
    (tmp_path / "set.bin.partial").write_bytes(CONTENT)
    assert downloads.fetch(published("http://127.0.0.1:9/set.bin"), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("mode", ["plain", "plain-cut", "ranges-lie"])
def test_without_honest_ranges_it_starts_again(server, tmp_path, mode):
    (tmp_path / "set.bin.partial").write_bytes(CONTENT[:1000])
    assert downloads.fetch(published(f"{server.at}/{mode}/set.bin"), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("left", [WRONG[:1000], WRONG, WRONG + b"longer"])
def test_a_wrong_partial_file_is_replaced(server, tmp_path, left):
    (tmp_path / "set.bin.partial").write_bytes(left)
    assert downloads.fetch(published(f"{server.at}/ranges/set.bin"), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("mode", ["corrupt", "missing", "more"])
def test_the_next_mirror_is_tried(server, tmp_path, mode):
    file = published(f"{server.at}/{mode}/set.bin", f"{server.at}/ranges/set.bin")
    assert downloads.fetch(file, tmp_path).read_bytes() == CONTENT
    assert [path for path, _ in server.log] == [f"/{mode}/set.bin", "/ranges/set.bin"]


@pytest.mark.parametrize("mode", ["corrupt", "missing", "more"])
def test_a_download_that_never_comes_right_leaves_nothing(server, tmp_path, mode):
    file = published(f"{server.at}/{mode}/set.bin")
    with pytest.raises(BadInput, match="could not be downloaded") as caught:
        downloads.fetch(file, tmp_path)
    assert nothing_but(tmp_path)
    assert len(server.log) == downloads.ATTEMPTS
    assert all(part in str(caught.value) for part in (file.urls[0], file.checksum, str(tmp_path)))


def test_without_network_the_sentence_says_what_to_do(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/set.bin"
    with pytest.raises(BadInput) as caught:
        downloads.fetch(published(url), tmp_path)
    sentence = str(caught.value)
    parts = (url, published().checksum, f"put set.bin ({len(CONTENT):,} bytes", str(tmp_path))
    assert all(part in sentence for part in parts), sentence
    assert "\n" not in sentence


def test_a_full_disk_is_no_reason_to_try_again(server, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "set.bin.partial")

    monkeypatch.setattr(downloads, "_transfer", full)
    with pytest.raises(OSError, match="No space"):
        downloads.fetch(published("http://127.0.0.1:9/set.bin"), tmp_path)


def test_a_file_behind_a_login_is_asked_for(tmp_path):
    with pytest.raises(BadInput, match="by hand from the owners: put set.bin"):
        downloads.fetch(published(), tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize("content", [WRONG, CONTENT[:-1], b""])
def test_a_wrong_file_of_a_person_is_named_and_kept(server, tmp_path, content):
    (tmp_path / "set.bin").write_bytes(content)
    with pytest.raises(BadInput) as caught:
        downloads.fetch(published(f"{server.at}/ranges/set.bin"), tmp_path)
    assert str(tmp_path / "set.bin") in str(caught.value)
    assert (tmp_path / "set.bin").read_bytes() == content
    assert not server.log


@pytest.mark.parametrize("below", ["some", "."])
@pytest.mark.parametrize("by_variable", [True, False])
def test_a_mirror_folder_is_used_in_place(tmp_path, monkeypatch, below, by_variable):
    mirror = tmp_path / "mirror"
    (mirror / below).mkdir(parents=True)
    (mirror / below / "set.bin").write_bytes(CONTENT)
    if by_variable:
        monkeypatch.setenv("DD_MIRROR", str(mirror))
    found = downloads.fetch(published(), tmp_path / "raw" / "some", None if by_variable else mirror)
    assert found.samefile(mirror / below / "set.bin")
    assert not (tmp_path / "raw").exists()


def test_a_wrong_file_in_a_mirror_is_named(tmp_path):
    (tmp_path / "set.bin").write_bytes(WRONG)
    with pytest.raises(BadInput, match="not the published file"):
        downloads.fetch(published(), tmp_path / "raw" / "some", tmp_path)


def test_processes_that_want_the_same_file_download_it_once(server, tmp_path):
    file = published(f"{server.at}/ranges-slow/set.bin")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=downloads.fetch, args=(file, tmp_path)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (tmp_path / "set.bin").read_bytes() == CONTENT
    assert len(server.log) == 1
