"""Published files: found, or downloaded once, and never used before their checksum is right."""

import errno
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from pathlib import Path

from distillation.console.progress import Progress
from distillation.runtime.errors import BadInput
from distillation.runtime.locks import locked

MIRROR = "DD_MIRROR"
ATTEMPTS = 3  # at each URL, without a byte gained
PAUSE = 1.0  # seconds after the first failure; doubles with each
TIMEOUT = 60.0  # seconds without a byte
CHUNK = 1 << 20
AGENT = "dataset-distillation"  # who asks, so that a server's owner can tell


def fetch(file, folder, mirror=None):
    """The path of a verified ``catalogue.File``.

    It is looked for in ``folder``, then in a mirror folder (``mirror``, else the environment variable DD_MIRROR) as
    ``NAME`` of a subfolder called as ``folder`` is, or flat. Else it is downloaded into ``folder``: an interrupted
    download resumes, URLs are tried in turn, and processes that want the same file wait for one of them.

    Raises:
        BadInput: a file that is there has the wrong size or checksum (a person's file is never removed), or the
            download fails; the sentence says where to put the file by hand.
    """
    folder = Path(folder)
    if place := found(file, folder, mirror):
        return _verified(file, place)
    if not file.urls:
        raise BadInput(by_hand(file, folder))
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / file.name
    with locked(folder / f"{file.name}.lock"):
        if not place.is_file():
            partial = folder / f"{file.name}.partial"
            _download(file, partial)
            os.replace(partial, place)
            return place
    return _verified(file, place)


def found(file, folder, mirror=None):
    """Where a ``catalogue.File`` is, in ``folder`` or a mirror as ``fetch`` says, verified or not; None if nowhere."""
    places, mirror = [Path(folder) / file.name], mirror or os.environ.get(MIRROR)
    if mirror:
        places += [Path(mirror) / Path(folder).name / file.name, Path(mirror) / file.name]
    return next((place for place in places if place.is_file()), None)


def by_hand(file, folder):
    """The sentence about a file that is behind a login."""
    return f"{file.name} has to be fetched by hand from {file.page}: {_by_hand(file, folder)}."


def _verified(file, path):
    if fault := _fault(file, path):
        raise BadInput(f"{path} is not the published file ({fault}, not {file.checksum}): replace or remove it.")
    return path


def _fault(file, path):
    """What is wrong with the content of ``path``, or None."""
    if (size := path.stat().st_size) != file.bytes:
        return f"{size:,} bytes instead of {file.bytes:,}"
    algorithm, wanted = file.checksum.split(":")
    with open(path, "rb") as content:
        found = hashlib.file_digest(content, algorithm).hexdigest()
    return None if found == wanted else f"its {algorithm} is {found}"


def _download(file, partial):
    """Make ``partial`` the whole file, beginning with what an earlier attempt left there."""
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
                continue
            fault = str(error) or type(error).__name__
        failures += 1
        if failures == ATTEMPTS * len(file.urls):
            raise BadInput(f"{url} could not be downloaded ({fault}): {_by_hand(file, partial.parent)}.")
        time.sleep(PAUSE * 2 ** (failures - 1))


def _transfer(file, url, partial):
    """Append the rest of a file to ``partial``; from the start where the server does not honour ranges.

    Raises:
        OSError: the connection fails or ends early, or sends more than the file has.
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
            start = 0
        with open(partial, "ab" if start else "wb") as out, Progress(file.name, file.bytes, unit="B") as progress:
            progress.advance(start)
            while chunk := reply.read(CHUNK):
                out.write(chunk)
                progress.advance(len(chunk))
                if out.tell() > file.bytes:
                    break
    if (size := _size(partial)) != file.bytes:
        if size > file.bytes:
            partial.unlink()
        raise OSError(f"{size:,} of {file.bytes:,} bytes came")


def _continues(reply, start):
    """Whether a reply carries on at byte ``start``."""
    return reply.status == 206 and reply.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _size(path):
    return path.stat().st_size if path.exists() else 0


def _by_hand(file, folder):
    return f"put {file.name} ({file.bytes:,} bytes, {file.checksum}) into {folder}/ or into a folder named by {MIRROR}"
