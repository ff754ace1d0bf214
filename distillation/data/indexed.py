"""Images that stay in their files and are decoded when they are used: those of a dataset too large for memory.

An index holds the path of each image and the SHA-256 of its file, which is verified on every read. So the index alone
determines the bits, as the pixels of a dataset in memory do. The files may lie anywhere: ``FOLDER`` of the repository
holds them, unpacked, or a link to them.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from distillation.data.faults import shown
from distillation.data.pixels import opened, planes
from distillation.runtime import process
from distillation.runtime.errors import BadInput
from distillation.runtime.files import read_bytes

FOLDER = Path("data/raw/images")
_Decoding = tuple[np.ndarray, list[Future]]  # (n, C, S, S) uint8 that the futures fill


class IndexedImages:
    """Images in files, with the part of the interface of a uint8 Tensor (N, C, S, S) that stages use.

    ``images[indices]`` (int64) decodes those images onto the device; ``images.split(n)`` decodes all, n at a time.
    ``images[mask]`` (bool) selects images without decoding them.

    Args:
        root: the folder of the files.
        paths: N paths, relative to ``root``.
        digests: (N, 32) uint8, the SHA-256 of each file.
        channels: C of the decoded images, 1 or 3.
        size: S of the decoded images, in pixels.
        colour: ``auto``, ``grey`` or ``rgb``, see ``pixels.opened``.
        device: the device of the decoded images.
    """

    def __init__(
        self,
        root: Path,
        paths: list[str],
        digests: Tensor,
        channels: int,
        size: int,
        colour: str,
        device: torch.device | str = "cpu",
    ) -> None:
        self.root, self.paths, self.digests, self.colour = root, paths, digests, colour
        self.shape = torch.Size((len(paths), channels, size, size))
        self.device = torch.device(device)

    @classmethod
    def read(cls, content: Mapping[str, Tensor], split: str, info: dict, device: torch.device | str) -> Self:
        """Restores the images that ``packed`` described in a file with the record ``info``.

        Args:
            content: the file's tensors.
            split: as in ``packed``.
            info: the file's record, with ``index``, ``channels``, ``size`` and ``colour``.
            device: the device of the decoded images.

        Raises:
            BadInput: the paths are not UTF-8.
        """
        try:
            paths = content[f"{split}_paths"].cpu().numpy().tobytes().decode().split("\0")
        except UnicodeDecodeError as error:
            raise BadInput(
                f"the index of the {split} images has paths that are not UTF-8: read the dataset again."
            ) from error
        digests = content[f"{split}_sha256"].cpu()
        root = process.root().absolute() / FOLDER / info["index"]
        return cls(root, paths, digests, info["channels"], info["size"], info["colour"], device)

    def packed(self, split: str) -> dict[str, Tensor]:
        """The paths (UTF-8, separated by zero bytes) and digests as tensors, under names that begin with ``split``."""
        paths = np.frombuffer("\0".join(self.paths).encode(), np.uint8)
        return {f"{split}_paths": torch.from_numpy(paths.copy()), f"{split}_sha256": self.digests}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Tensor) -> Any:
        """A uint8 Tensor (n, C, S, S) for indices (n,) int64; IndexedImages for a mask (N,) bool."""
        if index.dtype == torch.bool:
            return self._of(index.cpu().nonzero().squeeze(1), self.device)
        return self._end(self._begin(index))

    def split(self, count: int) -> Iterator[Tensor]:
        """Yields all images, ``count`` at a time; the next batch is decoded while one is in use."""
        first, *rest = torch.arange(len(self)).split(count)
        pending = self._begin(first)
        for indices in rest:
            before, pending = pending, self._begin(indices)
            yield self._end(before)
        yield self._end(pending)

    def to(self, device: torch.device | str) -> "IndexedImages":
        """The same images, decoded onto ``device``."""
        return self._of(torch.arange(len(self)), device)

    def _of(self, indices: Tensor, device: torch.device | str) -> "IndexedImages":
        paths = [self.paths[i] for i in indices.tolist()]
        channels, size = self.shape[1], self.shape[2]
        return IndexedImages(self.root, paths, self.digests[indices], channels, size, self.colour, device)

    def _begin(self, indices: Tensor) -> "_Decoding":
        """Starts threads that decode images; ``_end`` waits for them."""
        out = np.empty((len(indices), *self.shape[1:]), np.uint8)
        return out, [_threads().submit(self._fill, out, place, i) for place, i in enumerate(indices.tolist())]

    def _end(self, pending: "_Decoding") -> Tensor:
        """The decoded images (n, C, S, S) uint8, on the device."""
        out, futures = pending
        for future in futures:
            future.result()
        return torch.from_numpy(out).to(self.device)

    def _fill(self, out: np.ndarray, place: int, i: int) -> None:
        """Decodes image ``i`` into ``out[place]``."""
        path = self.root / self.paths[i]
        try:
            content = read_bytes(path)
        except OSError as error:
            missing = shown(str(path)) if self.root.is_dir() else self.root
            raise BadInput(
                f"{missing} cannot be read ({error.strerror}): put the images of the index there, or run the stage that "
                "reads the dataset again (`dvc repro -f -s download`)."
            ) from error
        if hashlib.sha256(content).digest() != self.digests[i].numpy().tobytes():
            raise BadInput(
                f"{shown(str(path))} has changed since it was indexed: put the file back, or, if the change is meant, run "
                "the stage that reads the dataset again (`dvc repro -f -s download`)."
            )
        out[place] = planes(np.asarray(opened(path, content, self.shape[-1], self.colour)))


def indices_on(images: Tensor | IndexedImages) -> torch.device:
    """The device on which indices into ``images`` cause no wait.

    It is a Tensor's own device, but the CPU for images in files: decoding begins before the device finishes a batch.
    """
    return torch.device("cpu") if isinstance(images, IndexedImages) else images.device


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    """The threads that decode, one a core; bits do not depend on their number."""
    Image.init()  # not thread-safe
    return ThreadPoolExecutor(os.cpu_count())
