"""Members of a directory, tar, zip or listing, one after the other in memory: nothing is extracted to the disk here.

One set of rules holds for all four. What only a hostile or broken archive has is refused at once: names that lead out
of it, names twice, and bombs (small files that unpack to enormous ones). A single file that cannot be read is a fault,
which is collected (``data.faults``): the setting ``dataset.faulty`` decides about it.
"""

import codecs
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
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NoReturn, Self

from distillation.data.faults import Faulty, Findings, add, printable
from distillation.runtime.errors import BadInput
from distillation.runtime.files import regular, unpacked_limit

Filter = Callable[[str], object]  # of a member's name; the member is read if the value is true
Member = tuple[str, bytes]  # name and content

TOTAL = 256 << 30  # house: bytes of all members together, more than ImageNet's
MEMBER = 4 << 30  # house: bytes of one member, which is held in memory
NAME = 255  # bytes of a file's name, at most, on the file systems of Linux

_LISTED = re.compile(r"(\\?)([0-9a-fA-F]{64}) [ *](.+)")
_ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}  # of sha256sum, in a line that begins with a backslash
_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
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


@dataclass(frozen=True)
class _Entry:
    """One entry of a directory, archive or listing.

    Attributes:
        name: its relative name with ``/``; bytes that are not UTF-8 are surrogates.
        read: function of a number of bytes that returns the content of a file; it raises Faulty for a file that is larger,
            or that cannot be read.
        folder: whether it is a folder.
    """

    name: str
    read: Callable[[int], bytes] = bytes
    folder: bool = False


def members(
    path: str | Path,
    selects: Filter = lambda name: True,
    findings: Findings | None = None,
    largest: int | None = None,
) -> Iterator[Member]:
    """Yields (name, bytes) of each regular file of a directory, archive or listing for which ``selects`` is true.

    A directory is walked in sorted order, an archive is read in its own order. A listing is the output of ``sha256sum``
    for files in its own folder; each file is verified against its line. Links in a directory or listing are followed to
    files. A backslash in a zip separates folders, as in those that some programs of Windows write.

    Args:
        path: directory, archive or listing.
        selects: function of a relative name with ``/``; the file is read if the value is true; it may raise Faulty.
        findings: what receives folders and faulty files: links in archives, links to nothing, devices, sparse files, names
            that are not UTF-8 or that no file can have, files that are too large or cannot be read, and, of a listing,
            those that differ from their line. None refuses the first of them.
        largest: bytes that a file may have; None: ``MEMBER``.

    Raises:
        BadInput: the path is missing or no archive; it is cut short, corrupt or encrypted; it holds a repeated, absolute
            or climbing name, a link to a folder, or so much that it can only be a bomb; or a file is faulty and there are
            no ``findings``.
    """
    path = Path(path)
    try:
        yield from _members(path, selects, findings, MEMBER if largest is None else largest)
    except _BROKEN as error:
        if path.is_dir() or lists(path):  # no archive that could be broken: an error of the disk
            raise
        raise BadInput(f"{path} is no archive, or a broken one ({error}): fetch or pack it again.") from error


def _members(path: Path, selects: Filter, findings: Findings | None, largest: int) -> Iterator[Member]:
    """Yields as ``members``, but lets the errors of the libraries pass."""
    check = _Names(path)
    for entry in _entries(path):
        name = check(entry)
        if entry.folder:
            if findings is not None:
                findings.folders.add(printable(name))
            continue
        try:
            content = _content(entry, largest) if selects(name) else None
        except Faulty as fault:
            add(findings, name, fault, f"{path}: ")
        else:
            if content is not None:
                yield name, content


def _content(entry: _Entry, largest: int) -> bytes:
    """Reads a file of at most ``largest`` bytes.

    Raises:
        Faulty: its name is not one that every file system takes, or it cannot be read.
    """
    try:
        longest = max(len(part.encode()) for part in entry.name.split("/"))
    except UnicodeEncodeError as error:
        raise Faulty("has a name that is not UTF-8: rename it, or pack it again with names in UTF-8") from error
    if longest > NAME:
        raise Faulty(f"has a name of {longest} bytes, where a file system takes {NAME}")
    return entry.read(largest)


def _check_size(size: int, largest: int) -> None:
    """Raises Faulty for a file of more than ``largest`` bytes."""
    if size > largest:
        raise Faulty(f"has {size:,} bytes, where a file of its kind may have {largest:,}")


def digest(path: str | Path) -> str:
    """Computes the SHA-256 that pins the content of a dataset: that of ``sha256sum`` for a file.

    Args:
        path: an archive or a listing (the file itself is digested), or a directory: names, lengths and contents of its
            files, in sorted order, faulty ones left out.

    Returns:
        64 hexadecimal digits.

    Raises:
        BadInput: as ``members``.
    """
    path = Path(path)
    if path.is_file():
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    total = hashlib.sha256()
    for name, content in members(path, findings=Findings()):
        total.update(f"{len(name.encode())} {name} {len(content)} ".encode())
        total.update(content)
    return total.hexdigest()


def lists(path: str | Path) -> bool:
    """Whether a path is a listing: a text file whose first line is one that ``sha256sum`` prints."""
    if not Path(path).is_file():
        return False
    start = _start(path, 160)  # a line's sum in UTF-16, twice as long
    return _LISTED.match(start.decode(_encoding(start), errors="replace")) is not None


def _entries(path: Path) -> Iterator[_Entry]:
    """Yields all entries of a path, by the kind that it is: told by its first bytes, not by its name."""
    if path.is_dir():
        return _directory(path)
    regular(path, "it should be a directory, a .zip, .tar, .tar.gz or .tar.xz file, or a listing")
    if lists(path):
        return _listing(path)
    return _zip(path) if _starts(path, b"PK\x03\x04") else _tar(path)


def _listing(path: Path) -> Iterator[_Entry]:
    """Yields the files that the lines of a listing name; raises BadInput at a line of another form."""
    encoding = _encoding(_start(path, 4))
    with open(path, encoding=encoding, errors="replace" if encoding == "utf-16" else "surrogateescape") as lines:
        for number, line in enumerate(lines, 1):
            if not (match := _LISTED.fullmatch(line.rstrip("\n"))):
                raise BadInput(f"{path} has line {number} of another form: it should be what sha256sum prints.")
            escaped, sha256, name = match.groups()
            if escaped:
                name = re.sub(r"\\[\\nr]", lambda escape: _ESCAPES[escape[0]], name)
            yield _of_file(path.parent / name, name, sha256.lower())


def _encoding(start: bytes) -> str:
    """The encoding of a text by its first bytes: some programs of Windows write a mark, or UTF-16."""
    return next((encoding for mark, encoding in _BOMS.items() if start.startswith(mark)), "utf-8")


def _directory(root: Path) -> Iterator[_Entry]:
    """Yields the folders and files below a directory, sorted; raises BadInput at a link to a folder."""
    for folder, folders, files in os.walk(root, onerror=_raise):
        folders.sort()
        for name in folders:
            place = Path(folder, name)
            if place.is_symlink():
                raise BadInput(
                    f"{printable(str(place))} is a link to a folder: put the folder itself there (`cp -rL`)."
                )
            yield _Entry(place.relative_to(root).as_posix(), folder=True)
        for name in sorted(files):
            place = Path(folder, name)
            yield _of_file(place, place.relative_to(root).as_posix())


def _of_file(place: Path, name: str, sha256: str | None = None) -> _Entry:
    """The entry of a file on the disk, which should have the digest ``sha256`` if there is one; links are followed."""

    def read(largest: int) -> bytes:
        try:
            status = place.stat()
            if not stat.S_ISREG(status.st_mode):
                raise Faulty("is no regular file")
            _check_size(status.st_size, largest)
            content = place.read_bytes()
        except OSError as error:
            raise Faulty(f"cannot be read ({error.strerror})") from error
        if sha256 and hashlib.sha256(content).hexdigest() != sha256:
            raise Faulty("has another sha256 than its line: list the files again, or put it back")
        return content

    return _Entry(name, read)


def _zip(path: Path) -> Iterator[_Entry]:
    """Yields the entries of a zip; raises BadInput if it is encrypted or a bomb."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        # of what the directory of the zip states; zipfile itself reads no more of an entry than that
        if (total := sum(entry.file_size for entry in entries)) > _limit(path):
            raise _bomb(path, total)
        if any(entry.flag_bits & 1 for entry in entries):
            raise BadInput(f"{path} is encrypted: pack it again without a password.")
        for entry in entries:
            name = _name_in_zip(entry).replace("\\", "/")
            yield _Entry(name, _reader_of_zip(archive, entry), name.endswith("/"))


def _reader_of_zip(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Callable[[int], bytes]:
    """The function ``read`` of an entry of a zip (see ``_Entry``)."""

    def read(largest: int) -> bytes:
        # the upper 16 bits are the mode on Unix; 0 if the zip was made elsewhere
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
            raise Faulty("is a link or a device: pack the file itself")
        _check_size(entry.file_size, largest)
        return archive.read(entry)

    return read


def _name_in_zip(entry: zipfile.ZipInfo) -> str:
    """The name as it is stored, which zipfile cuts at a byte of zero, and takes for DOS's cp437 unless it is marked UTF-8."""
    name = entry.orig_filename
    return name if entry.flag_bits & 0x800 else name.encode("cp437").decode("utf-8", "surrogateescape")


def _tar(path: Path) -> Iterator[_Entry]:
    """Yields the entries of a tar, plain or compressed by gzip or xz, as a stream: one pass, from start to end."""
    opener = next((opener for start, opener in _OPENERS.items() if _starts(path, start)), open)
    with opener(path, "rb") as unpacked:
        # a compressed tar does not state what it unpacks to: bytes are counted as they come
        stream = _Bounded(unpacked, path)
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header, encoding="utf-8") as archive:  # pyright: ignore[reportCallIssue, reportArgumentType]  # a stream is only read
            while (entry := archive.next()) is not None:
                yield _Entry(entry.name, _reader_of_tar(archive, entry), entry.isdir())
                archive.members.clear()  # tarfile keeps every header, which adds up over a million of them
        while stream.read(1 << 20):  # to the end, where the compressed formats keep their checksum
            pass


def _reader_of_tar(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> Callable[[int], bytes]:
    """The function ``read`` of an entry of a tar (see ``_Entry``), to be called before the next entry is read."""

    def read(largest: int) -> bytes:
        if entry.issym() or entry.islnk():
            raise Faulty("is a link: pack the files themselves (`tar --dereference --hard-dereference`)")
        if entry.issparse():
            raise Faulty("is a sparse file: pack it whole (`tar` without `--sparse`)")
        if not entry.isreg():
            raise Faulty("is no regular file")
        _check_size(entry.size, largest)
        content = archive.extractfile(entry)
        assert content is not None  # it is a regular file
        return content.read()

    return read


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


class _Names:
    """A check of the name of each entry before anything of it is used; it remembers names, to refuse a second one."""

    def __init__(self, path: Path) -> None:
        self.path, self.seen = path, set()

    def __call__(self, entry: _Entry) -> str:
        """Returns the plain name of an entry.

        Raises:
            BadInput: it leads out, no file can have it, or another file has it.
        """
        name = entry.name
        if PurePosixPath(name).is_absolute() or ".." in re.split(r"[/\\]", name):
            raise BadInput(
                f"{self.path} holds '{printable(name)}', which leads out of it: pack it again with relative names."
            )
        if not name or "\0" in name:
            raise BadInput(f"{self.path} holds '{printable(name)}', a name that no file can have: pack it again.")
        plain = str(PurePosixPath(name))
        if not entry.folder:
            if plain in self.seen:
                raise BadInput(f"{self.path} holds '{printable(name)}' twice: pack it again.")
            self.seen.add(plain)
        return plain


def _limit(path: Path) -> int:
    """The largest number of bytes that an archive may unpack to."""
    return min(TOTAL, unpacked_limit(path))


def _bomb(path: Path, total: int) -> BadInput:
    """The error for an archive that unpacks to ``total`` bytes or more."""
    packed = path.stat().st_size
    return BadInput(f"{path} unpacks from {packed:,} to {total:,} bytes or more, as only a bomb does: it is refused.")


def _starts(path: Path, start: bytes) -> bool:
    return _start(path, len(start)) == start


def _start(path: str | Path, count: int) -> bytes:
    with open(path, "rb") as file:
        return file.read(count)


def _raise(error: OSError) -> NoReturn:
    """Raises an error of ``os.walk``, which ignores errors by default."""
    raise error
