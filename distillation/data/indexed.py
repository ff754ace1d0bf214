"""Images that stay in their files and are decoded when they are used: those of a dataset too large for memory.

An index holds the path of each image and the SHA-256 of its file, which is verified on every read. So the index alone
determines the pixels, and DVC tracks the index, not the images. Their files lie in a folder below ``FOLDER`` of the
repository, unpacked from an archive; or a link there leads to where they lie.
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

from distillation.data.faults import printable
from distillation.data.pixels import opened, planes
from distillation.runtime import process
from distillation.runtime.errors import BadInput
from distillation.runtime.files import read_bytes
from distillation.runtime.transfers import to_device

FOLDER = Path("data/raw/images")
_Decoding = tuple[np.ndarray, list[Future]]  # (n, C, S, S) uint8 that the futures fill


class IndexedImages:
    """Images in files, with the part of the interface of a uint8 Tensor (N, C, S, S) that stages use.

    ``images[indices]`` (int64) decodes those images onto the device; ``images.split(n)`` decodes all, n at a time.
    ``images[mask]`` (bool) selects images without decoding them. Decoding raises BadInput if a file is missing, has
    changed since it was indexed, or does not decode.

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
        """Restores the images of a split from the file of a RealSet; no image is read yet.

        Args:
            content: the file's tensors, among them those of ``packed``.
            split: ``train`` or ``test``.
            info: the file's record, with ``index`` (name of the images' folder), ``channels``, ``size`` and ``colour``.
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
        """Returns the index as tensors that a file can hold, of which ``read`` restores it.

        Args:
            split: ``train`` or ``test``, by which the names of the tensors begin.

        Returns:
            ``{split}_paths`` (B,) uint8, all paths as UTF-8, separated by zero bytes; ``{split}_sha256`` (N, 32) uint8.
        """
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
        """Yields all images in their order, as uint8 Tensors of at most ``count`` images on the device.

        Threads decode the next batch while the caller uses one, so two batches are in memory.
        """
        first, *rest = torch.arange(len(self)).split(count)
        # one batch ahead and no more, which bounds the memory
        pending = self._begin(first)
        for indices in rest:
            before, pending = pending, self._begin(indices)
            yield self._end(before)
        yield self._end(pending)

    def to(self, device: torch.device | str) -> "IndexedImages":
        """The same images, decoded onto ``device``."""
        return self._of(torch.arange(len(self)), device)

    def _of(self, indices: Tensor, device: torch.device | str) -> "IndexedImages":
        """The images with these indices (n,) int64, not decoded."""
        paths = [self.paths[i] for i in indices.tolist()]
        channels, size = self.shape[1], self.shape[2]
        return IndexedImages(self.root, paths, self.digests[indices], channels, size, self.colour, device)

    def _begin(self, indices: Tensor) -> "_Decoding":
        """Starts threads that decode images; ``_end`` waits for them."""
        out = np.empty((len(indices), *self.shape[1:]), np.uint8)  # each thread writes its own row: no lock, no copy
        return out, [_threads().submit(self._fill, out, place, i) for place, i in enumerate(indices.tolist())]

    def _end(self, pending: "_Decoding") -> Tensor:
        """The decoded images (n, C, S, S) uint8, on the device."""
        out, futures = pending
        for future in futures:
            future.result()  # raises what its thread raised
        return to_device(torch.from_numpy(out), self.device)

    def _fill(self, out: np.ndarray, place: int, i: int) -> None:
        """Decodes image ``i`` into ``out[place]``, after its digest was verified."""
        path = self.root / self.paths[i]
        try:
            content = read_bytes(path)
        except OSError as error:
            missing = printable(str(path)) if self.root.is_dir() else self.root
            raise BadInput(
                f"{missing} cannot be read ({error.strerror}): put the images of the index there, or run the stage that "
                "reads the dataset again (`dvc repro -f -s download`)."
            ) from error
        if hashlib.sha256(content).digest() != self.digests[i].numpy().tobytes():
            raise BadInput(
                f"{printable(str(path))} has changed since it was indexed: put the file back, or, if the change is meant, run "
                "the stage that reads the dataset again (`dvc repro -f -s download`)."
            )
        out[place] = planes(np.asarray(opened(path, content, self.shape[-1], self.colour)))


def indices_on(images: Tensor | IndexedImages) -> torch.device:
    """The device on which indices into ``images`` should be, so that a loop over batches does not wait.

    For a Tensor it is its own device. For images in files it is the CPU, which has to read the indices: from a GPU they
    would come only once the GPU has finished the batch before.
    """
    return torch.device("cpu") if isinstance(images, IndexedImages) else images.device


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    """The threads that decode, one a core; bits do not depend on their number."""
    Image.init()  # not thread-safe
    return ThreadPoolExecutor(os.cpu_count())
