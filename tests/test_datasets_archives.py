import gzip
import io
import lzma
import os
import sys
import tarfile
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distillation.datasets import archives
from distillation.runtime import files
from distillation.runtime.errors import BadInput

FILES = {"set/train/a/1.bin": bytes(range(200)) * 9, "set/train/b/2.bin": b"two" * 700, "set/readme.txt": b"read me"}
KINDS = ("dir", "tar", "tar.gz", "tar.xz", "zip")


def pack(folder, kind, files=FILES):
    path = folder / f"archive.{kind}"
    if kind == "dir":
        for name, content in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(path, f"w:{kind.partition('.')[2]}") as archive:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return path


def tar_of(path, *entries):
    with tarfile.open(path, "w") as archive:
        for name, kind, target in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, target
            archive.addfile(entry)
    return path


def refused(path, *words):
    with pytest.raises(BadInput) as caught:
        list(archives.members(path))
    sentence = str(caught.value)
    assert all(word in sentence for word in (path.name, *words)), sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("kind", KINDS)
def test_members_are_all_regular_files(tmp_path, kind):
    path = pack(tmp_path, kind)
    assert dict(archives.members(path)) == FILES
    assert [name for name, _ in archives.members(path, lambda name: "/b/" in name)] == ["set/train/b/2.bin"]


WRITES = []
WATCHED = ("open", "os.mkdir", "os.rename", "os.symlink", "os.link")


def _watch(event, arguments):
    if event in WATCHED and WRITES and (event != "open" or (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)):
        WRITES.append((event, arguments))


def test_nothing_of_an_archive_is_written(tmp_path):
    sys.addaudithook(_watch)
    for kind in KINDS[1:]:
        path = pack(tmp_path, kind)
        WRITES.append("watching")
        assert dict(archives.members(path)) == FILES
        assert WRITES == ["watching"]
        WRITES.clear()
    WRITES.append("watching")
    (tmp_path / "probe").write_bytes(b"")
    assert len(WRITES) == 2, "the watch itself must see writes"
    WRITES.clear()


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../up", "a\\..\\up"])
@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_names_that_lead_out_are_refused(tmp_path, kind, name):
    refused(pack(tmp_path, kind, {name: b"x"}), name.replace("\\", "/") if kind == "zip" else name, "leads out of it")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_tars_are_refused(tmp_path, kind):
    refused(tar_of(tmp_path / "odd.tar", ("train/a/x", kind, "/etc/passwd")), "train/a/x", "link")


def test_links_in_zips_are_refused(tmp_path):
    path = tmp_path / "link.zip"
    with zipfile.ZipFile(path, "w") as archive:
        entry = zipfile.ZipInfo("train/a/x")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    refused(path, "train/a/x", "link")


def test_links_in_directories_are_followed_to_files_and_refused_to_folders(tmp_path):
    root = pack(tmp_path, "dir")
    (tmp_path / "elsewhere").write_text("x")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    assert dict(archives.members(root)) == {**FILES, "link": b"x"}
    (root / "more").symlink_to(tmp_path)
    refused(root, "more is a link to a folder", "cp -rL")


def test_a_directory_itself_may_be_reached_through_a_link(tmp_path):
    (tmp_path / "link").symlink_to(pack(tmp_path, "dir"))
    assert dict(archives.members(tmp_path / "link")) == FILES


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_name_twice_is_refused(tmp_path, kind):
    path = tmp_path / f"twice.{kind}"
    if kind == "zip":
        with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "w") as archive:
            archive.writestr("train/a/1", "x")
            archive.writestr("train/a/1", "y")
    else:
        tar_of(path, ("train/a/1", tarfile.REGTYPE, ""), ("train/./a/1", tarfile.REGTYPE, ""))
    refused(path, "twice")


def test_a_zip_bomb_is_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("zeros", "w") as member:
        for _ in range(257):
            member.write(bytes(1 << 20))
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("read before it was judged"))
    refused(path, "bomb")


@pytest.mark.parametrize("kind", ["tar.gz", "tar.xz"])
def test_a_tar_bomb_is_refused_on_the_way(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(files, "FLOOR", 1 << 20)
    monkeypatch.setattr(files, "RATIO", 50)
    path = pack(tmp_path, kind, {f"train/a/{i}": bytes(100_000) for i in range(40)})
    refused(path, "bomb")


def test_the_total_and_one_member_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MEMBER", 1000)
    for kind in ("tar", "zip"):
        refused(pack(tmp_path, kind), "set/train/a/1.bin", "1,000")
    monkeypatch.setattr(archives, "TOTAL", 2000)
    refused(pack(tmp_path, "zip"), "bomb")


def test_a_sparse_file_is_refused(tmp_path):
    refused(tar_of(tmp_path / "sparse.tar", ("holes", tarfile.GNUTYPE_SPARSE, "")))


def test_an_encrypted_zip_is_refused(tmp_path):
    path = pack(tmp_path, "zip")
    content = bytearray(path.read_bytes())
    at = -1
    while (at := content.find(b"PK\x01\x02", at + 1)) >= 0:
        content[at + 8] |= 1
    path.write_bytes(content)
    refused(path, "encrypted")


def test_what_is_no_archive_or_missing_is_refused(tmp_path):
    text = tmp_path / "text.tar"
    text.write_text("no archive at all" * 100)
    refused(text, "no archive")
    (tmp_path / "empty.zip").write_bytes(b"")
    refused(tmp_path / "empty.zip")
    refused(tmp_path / "nowhere.zip", "missing")


@pytest.fixture(scope="module", params=KINDS[1:])
def packed(request, tmp_path_factory):
    return pack(tmp_path_factory.mktemp("packed"), request.param)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_cut_archive_is_refused_or_whole(packed, share):
    cut = packed.with_name(f"cut-{packed.name}")
    content = packed.read_bytes()
    cut.write_bytes(content[: int(share * len(content))])
    try:
        assert dict(archives.members(cut)) == FILES
    except BadInput as error:
        assert cut.name in str(error)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_damaged_archive_never_gives_other_bytes(packed, share, bit):
    if packed.suffix == ".tar":
        return  # carries no checksum of its content
    damaged = packed.with_name(f"damaged-{packed.name}")
    content = bytearray(packed.read_bytes())
    content[int(share * len(content))] ^= 1 << bit
    damaged.write_bytes(content)
    try:
        found = dict(archives.members(damaged))
    except BadInput as error:
        assert damaged.name in str(error)
    else:
        # A zip's directory has no checksum: damage there may lose members, but never changes one.
        assert found.items() <= FILES.items() if packed.suffix == ".zip" else found == FILES


def test_a_damaged_header_in_the_middle_is_no_end(tmp_path):
    path = pack(tmp_path, "tar")
    content = bytearray(path.read_bytes())
    content[content.find(b"set/train/b")] ^= 1
    path.write_bytes(content)
    refused(path)


@pytest.mark.parametrize(("kind", "opener"), [("tar.gz", gzip.open), ("tar.xz", lzma.open)])
def test_a_tar_whose_checksum_alone_is_wrong_is_refused(tmp_path, kind, opener):
    path = pack(tmp_path, kind)
    content = bytearray(path.read_bytes())
    content[-8 if kind == "tar.gz" else -30] ^= 1
    path.write_bytes(content)
    refused(path)


def test_digests(tmp_path):
    path = pack(tmp_path, "dir")
    before = archives.digest(path)
    assert before == archives.digest(pack(tmp_path / "again", "dir", dict(reversed(FILES.items()))))
    (path / "set/readme.txt").write_bytes(b"read mf")
    assert archives.digest(path) != before
    (path / "set/readme.txt").rename(path / "set/readme")
    (path / "set/readme").write_bytes(b"read me")
    assert archives.digest(path) != before
    (tmp_path / "file").write_bytes(b"abc")
    assert archives.digest(tmp_path / "file").startswith("ba7816bf8f01cfea")
