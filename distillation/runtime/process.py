"""The start of a stage or command: it runs the code of its working directory; and where its repository is."""

import os
from pathlib import Path

from distillation.runtime.errors import BadInput


def begin() -> None:
    """Checks whose code this process runs; the first call of every stage script and command.

    Raises:
        BadInput: this folder has code of its own, as the copy of a queued experiment does, but other code was imported:
            the experiment would be recorded with one code and run with another.
    """
    code = Path(__file__).resolve().parents[2]
    if code != Path.cwd() and ("DVC_STAGE" in os.environ or Path("distillation").is_dir()):
        raise BadInput(
            f"this run would use the code of {code}, not of {Path.cwd()}: run stages from the repository's root."
        )


def root() -> Path:
    """The repository's own folder, also in the copy in which DVC runs a queued experiment."""
    return Path(os.environ.get("DVC_ROOT", "."))
