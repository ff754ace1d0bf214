"""The start of a stage or command: a check that it runs the code of its working directory; the repository's folder."""

import os
from pathlib import Path

from distillation.runtime.errors import BadInput


def begin() -> None:
    """Checks that this process runs the code of its working directory; every stage script and command begins with it.

    DVC runs a queued experiment in a copy of the repository. If the package were installed from elsewhere, that code
    would be imported instead of the copy's, and the experiment would be recorded with one code and run with another.

    Raises:
        BadInput: the code was imported from another folder than the working directory, and the working directory has
            code of its own or DVC started this process.
    """
    code = Path(__file__).resolve().parents[2]
    if code != Path.cwd() and ("DVC_STAGE" in os.environ or Path("distillation").is_dir()):
        raise BadInput(
            f"this run would use the code of {code}, not of {Path.cwd()}: run stages from the repository's root."
        )


def root() -> Path:
    """The folder of the repository itself, also while DVC runs an experiment in a copy of it (by ``DVC_ROOT``)."""
    return Path(os.environ.get("DVC_ROOT", "."))


def scratch(name: str) -> Path:
    """An absolute folder of what no result holds: in DVC's own temporary folder or, without a DVC repository, ``.name``.

    Args:
        name: ``work`` or ``compiled``.
    """
    folder = root().absolute()
    return folder / ".dvc" / "tmp" / name if (folder / ".dvc").is_dir() else folder / f".{name}"
