"""The md5 by which DVC names content; DVC itself is not imported, as it takes long and this runs in every stage."""

import hashlib
import json
from pathlib import Path


def dvc_hash(path: str | Path) -> str:
    """Computes the name that DVC gives to the content of an out, as it is in ``dvc.lock`` and in DVC's cache.

    Args:
        path: an existing file or folder.

    Returns:
        The md5 of a file (32 hexadecimal digits); for a folder the md5 of a JSON list of its files' names and md5s,
        with the suffix ``.dir``.
    """
    path = Path(path)
    if path.is_file():
        return _md5(path)
    # DVC sorts by the parts of a path: "a/b" comes before "a.b", although "." is less than "/"
    files = sorted((file.relative_to(path).parts, file) for file in path.rglob("*") if file.is_file())
    listing = [{"md5": _md5(file), "relpath": "/".join(parts)} for parts, file in files]
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode()).hexdigest() + ".dir"


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
