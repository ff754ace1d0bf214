"""Published files: located, or downloaded once, and verified against their checksum before use."""

import errno
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from distillation.console.progress import Progress
from distillation.runtime.errors import BadInput
from distillation.runtime.files import regular
from distillation.runtime.locks import locked

if TYPE_CHECKING:
    from distillation.datasets.catalogue import File

MIRROR = "DD_MIRROR"
ATTEMPTS = 3  # house: at each URL, without a byte gained
PAUSE = 1.0  # house: seconds after the first failure; doubles with each
TIMEOUT = 60.0  # house: seconds without a byte
CHUNK = 1 << 20  # house: bytes of one read
AGENT = "dataset-distillation"  # identifies the client to the owner of a server


def fetch(file: "File", folder: str | Path, mirror: str | Path | None = None) -> Path:
    """Locates or downloads a published file, and verifies its size and checksum.

    An interrupted download resumes. If a download fails, the next URL is tried, three times each, with growing pauses.
    If several processes need the file, one downloads and the others wait.

    Args:
        file: the published file.
        folder: the folder that is searched first, and that receives a download.
        mirror: a folder that is searched next, for the file in it or in a subfolder with the name of ``folder``; None: the
            environment variable DD_MIRROR.

    Returns:
        The path of the verified file.

    Raises:
        BadInput: an existing file has the wrong size or checksum (a user's file is never removed), or the download
            fails; the message tells where to put the file by hand.
    """
    folder = Path(folder)
    if place := locate(file, folder, mirror):
        return _verified(file, place)
    if not file.urls:
        raise BadInput(by_hand(file, folder))
    folder.mkdir(parents=True, exist_ok=True)
    place, partial = folder / file.name, folder / f"{file.name}.partial"
    for path in (place, partial):
        if path.exists():
            regular(path)
    with locked(folder / f"{file.name}.lock"):
        if not place.is_file():  # else another process downloaded it meanwhile
            _download(file, partial)
            os.replace(partial, place)
            return place
    return _verified(file, place)


def locate(file: "File", folder: str | Path, mirror: str | Path | None = None) -> Path | None:
    """Finds a published file, verified or not, in ``folder`` or a mirror (see ``fetch``); None if it is in neither."""
    places, mirror = [Path(folder) / file.name], mirror or os.environ.get(MIRROR)
    if mirror:
        places += [Path(mirror) / Path(folder).name / file.name, Path(mirror) / file.name]
    return next((place for place in places if place.is_file()), None)


def by_hand(file: "File", folder: str | Path) -> str:
    """The message that tells how to get a file that is behind a login, and where to put it (``folder`` or a mirror)."""
    return f"{file.name} has to be fetched by hand from {file.page}: {_by_hand(file, folder)}."


def _verified(file: "File", path: Path) -> Path:
    """``path``, if it has the content of ``file``.

    Raises:
        BadInput: size or checksum differ.
    """
    if fault := _fault(file, path):
        raise BadInput(f"{path} is not the published file ({fault}, not {file.checksum}): replace or remove it.")
    return path


def _fault(file: "File", path: Path) -> str | None:
    """The difference between the content of ``path`` and ``file`` in words, or None."""
    if (size := path.stat().st_size) != file.bytes:
        return f"{size:,} bytes instead of {file.bytes:,}"
    algorithm, published = file.checksum.split(":")
    with open(path, "rb") as content:
        digest = hashlib.file_digest(content, algorithm).hexdigest()
    return None if digest == published else f"its {algorithm} is {digest}"


def _download(file: "File", partial: Path) -> None:
    """Completes ``partial``, which may hold the first bytes from an earlier attempt.

    Raises:
        BadInput: every URL failed ``ATTEMPTS`` times without a byte gained.
        OSError: the disk is full or not writable.
    """
    failures = 0
    while True:
        url = file.urls[failures % len(file.urls)]
        before = _size(partial)
        try:
            _transfer(file, url, partial)
            if not (fault := _fault(file, partial)):
                return
            partial.unlink()
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
                raise
            if _size(partial) > before:
                continue  # a slow or shaky connection that makes progress is no failure
            fault = str(error) or type(error).__name__
        failures += 1
        if failures == ATTEMPTS * len(file.urls):
            raise BadInput(f"{url} could not be downloaded ({fault}): {_by_hand(file, partial.parent)}.")
        time.sleep(PAUSE * 2 ** (failures - 1))


def _transfer(file: "File", url: str, partial: Path) -> None:
    """Appends the rest of a file to ``partial``; downloads it from the start if the server does not honour ranges.

    Raises:
        OSError: the connection fails or ends early, or sends more bytes than the file has.
    """
    if (start := _size(partial)) == file.bytes:
        return
    if start > file.bytes:
        partial.unlink()
        start = 0
    request = urllib.request.Request(url, headers={"User-Agent": AGENT})
    if start:
        request.add_header("Range", f"bytes={start}-")
    with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
        if not _continues(reply, start):
            start = 0  # the server sends the whole file: appended, it would be damaged
        with open(partial, "ab" if start else "wb") as out, Progress(file.name, file.bytes, unit="B") as progress:
            progress.advance(start)
            while chunk := reply.read(CHUNK):
                out.write(chunk)
                progress.advance(len(chunk))
                if out.tell() > file.bytes:
                    break  # another file, which may have no end
    if (size := _size(partial)) != file.bytes:
        if size > file.bytes:
            partial.unlink()
        raise OSError(f"{size:,} of {file.bytes:,} bytes came")


def _continues(reply: http.client.HTTPResponse, start: int) -> bool:
    """Whether a reply continues at byte ``start``."""
    return reply.status == 206 and reply.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _by_hand(file: "File", folder: str | Path) -> str:
    """The end of a message that tells where to put a file."""
    return f"put {file.name} ({file.bytes:,} bytes, {file.checksum}) into {folder}/ or into a folder named by {MIRROR}"
