"""Members of a directory, tar, zip or listing, one after the other in memory: nothing is extracted to the disk here."""

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
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NoReturn, Self

from distillation.runtime.errors import BadInput
from distillation.runtime.files import read_bytes, regular, unpacked_limit

Filter = Callable[[str], object]  # of a member's name; the member is read if the value is true
Member = tuple[str, bytes]  # name and content

TOTAL = 256 << 30  # house: bytes of all members together, more than ImageNet's
MEMBER = 4 << 30  # house: bytes of one member, which is held in memory

_LISTED = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_OPENERS = {b"\x1f\x8b": gzip.open, b"\xfd7zXZ\x00": lzma.open}
# Errors of the three libraries on damaged bytes; their OSError names no file.
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


def members(path: str | Path, selects: Filter = lambda name: True) -> Iterator[Member]:
    """Yields (name, bytes) of each regular file of a directory, archive or listing that ``selects`` names.

    A directory is walked in sorted order, an archive is read in its own order. A listing is the output of ``sha256sum``
    for files in its own folder; each file is verified against its line.

    Args:
        path: directory, archive or listing.
        selects: function of a relative name with ``/``; the file is read if the value is true.

    Raises:
        BadInput: the path is missing or no archive; it is cut short, corrupt or encrypted; it holds a link, a device,
            a repeated, absolute or climbing name, or so much that it can only be a bomb; a listed file is missing or
            differs from its line.
    """
    path = Path(path)
    if path.is_dir():
        yield from _directory(path, selects)
    elif lists(path):
        yield from _listing(path, selects)
    elif path.is_file():
        try:
            yield from _zip(path, selects) if _starts(path, b"PK\x03\x04") else _tar(path, selects)
        except _BROKEN as error:
            raise BadInput(f"{path} is no archive, or a broken one ({error}): fetch or pack it again.") from error
    else:
        regular(path, "it should be a directory, a .zip, .tar, .tar.gz or .tar.xz file, or a listing")


def digest(path: str | Path) -> str:
    """Computes the SHA-256 (hex) of a file, or of the sorted names and contents of a directory.

    Raises:
        BadInput: as ``members``.
    """
    path = Path(path)
    if path.is_file():
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    total = hashlib.sha256()
    for name, content in members(path):
        total.update(f"{len(name.encode())} {name} {len(content)} ".encode())
        total.update(content)
    return total.hexdigest()


def lists(path: str | Path) -> bool:
    """Whether a path is a listing (see ``members``)."""
    return Path(path).is_file() and _LISTED.match(_start(path, 80).decode(errors="replace")) is not None


def _listing(path: Path, selects: Filter) -> Iterator[Member]:
    check = _Members(path)
    with open(path, encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if not (match := _LISTED.fullmatch(line.rstrip("\n"))):
                raise BadInput(f"{path} has line {number} of another form: it should be what sha256sum prints.")
            sha256, name = match.groups()
            check(name, folder=False, regular=True, size=0)
            if selects(name := _plain(name)):
                yield name, _listed(path, name, sha256)


def _listed(path: Path, name: str, sha256: str) -> bytes:
    """The content of a file beside the listing ``path``."""
    try:
        content = read_bytes(path.parent / name)
    except OSError as error:
        raise BadInput(
            f"{path} lists {name}, which cannot be read ({error.strerror}): list the files again."
        ) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BadInput(f"{path} lists {name} with another sha256 than it has: list the files again, or put it back.")
    return content


def _directory(root: Path, selects: Filter) -> Iterator[Member]:
    for folder, folders, files in os.walk(root, onerror=_raise):
        folders.sort()
        for name in [*folders, *files]:
            file = Path(folder, name)
            if stat.S_IFMT(file.lstat().st_mode) not in (stat.S_IFDIR, stat.S_IFREG):
                raise BadInput(f"{file} is a link or a device: {root} should hold regular files only.")
        for name in sorted(files):
            file = Path(folder, name)
            if selects(relative := file.relative_to(root).as_posix()):
                yield relative, file.read_bytes()


def _zip(path: Path, selects: Filter) -> Iterator[Member]:
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
            if not entry.is_dir() and selects(name := _plain(entry.filename)):
                yield name, archive.read(entry)


def _tar(path: Path, selects: Filter) -> Iterator[Member]:
    opener = next((opener for start, opener in _OPENERS.items() if _starts(path, start)), open)
    check = _Members(path)
    with opener(path, "rb") as unpacked:
        stream = _Bounded(unpacked, path)
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as archive:  # pyright: ignore[reportCallIssue, reportArgumentType]  # a stream is only read
            while (entry := archive.next()) is not None:
                check(entry.name, entry.isdir(), entry.isreg() and not entry.issparse(), entry.size)
                if entry.isreg() and selects(name := _plain(entry.name)):
                    content = archive.extractfile(entry)
                    assert content is not None  # it is a regular file
                    yield name, content.read()
                archive.members.clear()  # tarfile keeps every header, which adds up over a million of them
        while stream.read(1 << 20):  # to the end, where the compressed formats keep their checksum
            pass


class _Header(tarfile.TarInfo):
    """A header that raises if it is cut short or damaged: tarfile itself takes that for the end of the archive."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:  # pyright: ignore[reportIncompatibleMethodOverride]  # by position
        """Reads the next header."""
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # pyright: ignore[reportAttributeAccessIssue]  # tarfile has it, its stub has not
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error


class _Bounded:
    """A stream that refuses to unpack more than an archive of that size can honestly hold."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self.stream, self.path, self.limit, self.count = stream, path, _limit(path), 0

    def read(self, size: int) -> bytes:
        """Reads at most ``size`` unpacked bytes."""
        content = self.stream.read(size)
        self.count += len(content)
        if self.count > self.limit:
            raise _bomb(self.path, self.count)
        return content


class _Members:
    """A check of each member of an archive before anything of it is used."""

    def __init__(self, path: Path) -> None:
        self.path, self.seen = path, set()

    def __call__(self, name: str, folder: bool, regular: bool, size: int) -> None:
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


def _limit(path: Path) -> int:
    """The largest number of bytes that an archive may unpack to."""
    return min(TOTAL, unpacked_limit(path))


def _bomb(path: Path, total: int) -> BadInput:
    packed = path.stat().st_size
    return BadInput(f"{path} unpacks from {packed:,} to {total:,} bytes or more, as only a bomb does: it is refused.")


def _plain(name: str) -> str:
    return str(PurePosixPath(name))


def _starts(path: Path, start: bytes) -> bool:
    return _start(path, len(start)) == start


def _start(path: str | Path, count: int) -> bytes:
    with open(path, "rb") as file:
        return file.read(count)


def _raise(error: OSError) -> NoReturn:
    """Raises an error of ``os.walk``, which ignores errors by default."""
    raise error
