"""DVC's names of content; no import of DVC, since this module is part of every stage's code."""

import hashlib
import json
from pathlib import Path


def dvc_hash(path: str | Path) -> str:
    """Computes the md5 by which DVC names the content of a file or, with the suffix ``.dir``, of a folder."""
    path = Path(path)
    if path.is_file():
        return _md5(path)
    files = sorted((file.relative_to(path).parts, file) for file in path.rglob("*") if file.is_file())
    listing = [{"md5": _md5(file), "relpath": "/".join(parts)} for parts, file in files]
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode()).hexdigest() + ".dir"


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
