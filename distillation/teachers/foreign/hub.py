"""Files of the Hugging Face hub, where timm and OpenCLIP publish their weights."""

from pathlib import Path

from huggingface_hub import (  # pyright: ignore[reportMissingImports]: optional, of requirements-foundation.txt
    constants,
    hf_hub_download,
)

from distillation.runtime.errors import BadInput


def hub_file(repository: str, *names: str) -> Path:
    """Returns the path in the local cache of the first of ``names`` that a repository has, downloading it if need be.

    Args:
        repository: ``<owner>/<name>`` on the hub.
        names: file names, the preferred one first.

    Raises:
        BadInput: it is neither cached nor can it be downloaded (as with HF_HUB_OFFLINE); the sentence names the remedy.
    """
    fault: Exception | None = None
    for name in names:
        try:
            return Path(hf_hub_download(repository, name))
        except (OSError, ValueError) as error:
            fault = error
    folder = f"models--{repository.replace('/', '--')}"
    raise BadInput(
        f"{repository} is not in {constants.HF_HUB_CACHE} and could not be fetched: run "
        f"`hf download {repository} {names[0]}` where there is a network, and copy the folder {folder} there."
    ) from fault
