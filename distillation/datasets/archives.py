"""Members of a directory, tar, zip or listing, one after the other in memory: nothing is extracted onto the disk here."""

import gzip
import hashlib
import lzma
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from distillation.runtime.errors import BadInput

TOTAL = 256 << 30  # bytes of all members together
MEMBER = 4 << 30  # bytes of one member, which is held in memory
RATIO = 1000  # unpacked to packed bytes, beyond FLOOR: photographs never come near it
FLOOR = 256 << 20

_LISTED = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_OPENERS = {b"\x1f\x8b": gzip.open, b"\xfd7zXZ\x00": lzma.open}
# What the three libraries raise on damaged bytes, among them OSError with no file to it.
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    RuntimeError,
)


def members(path, wanted=lambda name: True):
    """Yield (name, bytes) of each regular file of a directory or archive whose name is ``wanted``.

    A directory is walked in sorted order, an archive is read in its own. A listing is what ``sha256sum`` prints of files
    in its own folder: each is held against its line. Names use ``/`` and are relative.

    Raises:
        BadInput: the path is missing or no archive; it is cut short, corrupt or encrypted; it holds a link, a device,
            a name twice, an absolute or climbing name, or so much that it can only be a bomb; a listed file is missing
            or another.
    """
    path = Path(path)
    if path.is_dir():
        yield from _directory(path, wanted)
    elif lists(path):
        yield from _listing(path, wanted)
    elif path.is_file():
        try:
            yield from _zip(path, wanted) if _starts(path, b"PK\x03\x04") else _tar(path, wanted)
        except _BROKEN as error:
            raise BadInput(f"{path} is no archive, or a broken one ({error}): fetch or pack it again.") from error
    else:
        raise BadInput(
            f"{path} is missing: it should be a directory, a .zip, .tar, .tar.gz or .tar.xz file, or a listing."
        )


def digest(path):
    """sha256 (hex) of a file, or of the sorted names and contents of a directory. Raises BadInput as ``members``."""
    path = Path(path)
    if path.is_file():
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    total = hashlib.sha256()
    for name, content in members(path):
        total.update(f"{len(name.encode())} {name} {len(content)} ".encode())
        total.update(content)
    return total.hexdigest()


def lists(path):
    """Whether a path is that of a listing."""
    return Path(path).is_file() and _LISTED.match(_start(path, 80).decode(errors="replace")) is not None


def _listing(path, wanted):
    check = _Members(path)
    with open(path, encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if not (found := _LISTED.fullmatch(line.rstrip("\n"))):
                raise BadInput(f"{path} has line {number} of another form: it should be what sha256sum prints.")
            sha256, name = found.groups()
            check(name, folder=False, regular=True, size=0)
            if wanted(name := _plain(name)):
                yield name, _listed(path, name, sha256)


def _listed(path, name, sha256):
    """The content of a file beside the listing ``path``."""
    try:
        content = (path.parent / name).read_bytes()
    except OSError as error:
        raise BadInput(
            f"{path} lists {name}, which cannot be read ({error.strerror}): list the files again."
        ) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BadInput(f"{path} lists {name} with another sha256 than it has: list the files again, or put it back.")
    return content


def _directory(root, wanted):
    for folder, folders, files in os.walk(root, onerror=_raise):
        folders.sort()
        for name in [*folders, *files]:
            at = Path(folder, name)
            if stat.S_IFMT(at.lstat().st_mode) not in (stat.S_IFDIR, stat.S_IFREG):
                raise BadInput(f"{at} is a link or a device: {root} should hold regular files only.")
        for name in sorted(files):
            at = Path(folder, name)
            if wanted(relative := at.relative_to(root).as_posix()):
                yield relative, at.read_bytes()


def _zip(path, wanted):
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if (total := sum(entry.file_size for entry in entries)) > _limit(path):
            raise _bomb(path, total)
        check = _Members(path)
        for entry in entries:
            kind = stat.S_IFMT(entry.external_attr >> 16)
            check(entry.filename, entry.is_dir(), kind in (0, stat.S_IFREG), entry.file_size)
            if entry.flag_bits & 1:
                raise BadInput(f"{path} is encrypted: pack it again without a password.")
        for entry in entries:
            if not entry.is_dir() and wanted(name := _plain(entry.filename)):
                yield name, archive.read(entry)


def _tar(path, wanted):
    opener = next((opener for start, opener in _OPENERS.items() if _starts(path, start)), open)
    check = _Members(path)
    with opener(path, "rb") as unpacked:
        stream = _Bounded(unpacked, path)
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as archive:
            while (entry := archive.next()) is not None:
                check(entry.name, entry.isdir(), entry.isreg() and not entry.issparse(), entry.size)
                if entry.isreg() and wanted(name := _plain(entry.name)):
                    yield name, archive.extractfile(entry).read()
                archive.members.clear()  # tarfile keeps every header, which adds up over a million of them
        while stream.read(1 << 20):  # to the end, where the compressed formats keep their checksum
            pass


class _Header(tarfile.TarInfo):
    """Headers that are cut short or damaged are errors: tarfile itself takes them for the end of the archive."""

    @classmethod
    def fromtarfile(cls, archive):
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error


class _Bounded:
    """A stream that refuses to unpack more than an archive of that size can honestly hold."""

    def __init__(self, stream, path):
        self.stream, self.path, self.limit, self.count = stream, path, _limit(path), 0

    def read(self, size):
        content = self.stream.read(size)
        self.count += len(content)
        if self.count > self.limit:
            raise _bomb(self.path, self.count)
        return content


class _Members:
    """Checks each member of an archive as it is met, before anything of it is used."""

    def __init__(self, path):
        self.path, self.seen = path, set()

    def __call__(self, name, folder, regular, size):
        if PurePosixPath(name).is_absolute() or ".." in name.split("/") or "\\" in name or "\0" in name:
            raise BadInput(f"{self.path} holds '{name}', which leads out of it: pack it again with relative names.")
        if folder:
            return
        if not regular:
            raise BadInput(f"{self.path} holds '{name}', a link or a device: pack regular files only.")
        if size > MEMBER:
            raise BadInput(f"{self.path} holds '{name}' of {size:,} bytes: a member may have {MEMBER:,}.")
        if (plain := _plain(name)) in self.seen:
            raise BadInput(f"{self.path} holds '{name}' twice: pack it again.")
        self.seen.add(plain)


def _limit(path):
    return min(TOTAL, max(FLOOR, RATIO * path.stat().st_size))


def _bomb(path, total):
    packed = path.stat().st_size
    return BadInput(f"{path} unpacks from {packed:,} to {total:,} bytes or more, as only a bomb does: it is refused.")


def _plain(name):
    return str(PurePosixPath(name))


def _starts(path, start):
    return _start(path, len(start)) == start


def _start(path, count):
    with open(path, "rb") as file:
        return file.read(count)


def _raise(error):
    raise error
