"""Images that stay in their files and are decoded when they are asked for: those of a dataset too large for memory.

An index says of each image its path and the sha256 of its file, which is held against the file whenever it is decoded. So
the index alone decides the bits, as the pixels of a dataset in memory do, and it is no matter where the files lie: a
machine finds those of an index below ``FOLDER`` of the repository, unpacked there, or by a link to where they are.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from distillation.data.pixels import opened, planes
from distillation.runtime import process
from distillation.runtime.errors import BadInput

FOLDER = Path("data/raw/images")


class IndexedImages:
    """What stages use of a uint8 Tensor (N, C, S, S), of images in files.

    ``images[indices]`` (int64) decodes those images and ``images.split(n)`` all, n at a time, onto the device.
    ``images[mask]`` (bool) are some of the images, still in their files.

    Args:
        root: the folder of the files.
        paths: N paths, relative to it.
        digests: (N, 32) uint8, the sha256 of each file.
        channels, size, colour: how they are decoded, see ``containers.pixels.opened``.
    """

    def __init__(self, root, paths, digests, channels, size, colour, device="cpu"):
        self.root, self.paths, self.digests, self.colour = root, paths, digests, colour
        self.shape = torch.Size((len(paths), channels, size, size))
        self.device = torch.device(device)

    @classmethod
    def read(cls, content, split, info, device):
        """The images of ``split`` that ``packed`` described inside a container with the record ``info``."""
        paths = content[f"{split}_paths"].cpu().numpy().tobytes().decode().split("\0")
        digests = content[f"{split}_sha256"].cpu()
        root = process.root().absolute() / FOLDER / info["index"]
        return cls(root, paths, digests, info["channels"], info["size"], info["colour"], device)

    def packed(self, split):
        """The tensors under names that a container can hold next to its own."""
        paths = np.frombuffer("\0".join(self.paths).encode(), np.uint8)
        return {f"{split}_paths": torch.from_numpy(paths.copy()), f"{split}_sha256": self.digests}

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, which):
        if which.dtype == torch.bool:
            return self._of(which.cpu().nonzero().squeeze(1), self.device)
        return self._end(self._begin(which))

    def split(self, count):
        """Yield all images, ``count`` at a time; while some are in use, the next are decoded."""
        first, *rest = torch.arange(len(self)).split(count)
        begun = self._begin(first)
        for indices in rest:
            before, begun = begun, self._begin(indices)
            yield self._end(before)
        yield self._end(begun)

    def to(self, device):
        return self._of(torch.arange(len(self)), device)

    def _of(self, indices, device):
        paths = [self.paths[i] for i in indices.tolist()]
        return IndexedImages(self.root, paths, self.digests[indices], *self.shape[1:3], self.colour, device)

    def _begin(self, indices):
        """Let threads decode images; ``_end`` waits for them."""
        out = np.empty((len(indices), *self.shape[1:]), np.uint8)
        return out, [_threads().submit(self._fill, out, place, i) for place, i in enumerate(indices.tolist())]

    def _end(self, begun):
        out, futures = begun
        for future in futures:
            future.result()
        return torch.from_numpy(out).to(self.device)

    def _fill(self, out, place, i):
        path = self.root / self.paths[i]
        try:
            content = path.read_bytes()
        except OSError as error:
            lost = path if self.root.is_dir() else self.root
            raise BadInput(
                f"{lost} cannot be read ({error.strerror}): put the images of the index there, or run the stage that "
                "reads the dataset again (`dvc repro -f -s download`)."
            ) from error
        if hashlib.sha256(content).digest() != self.digests[i].numpy().tobytes():
            raise BadInput(
                f"{path} has changed since it was indexed: put the file back, or, if the change is meant, run the stage "
                "that reads the dataset again (`dvc repro -f -s download`)."
            )
        out[place] = planes(np.asarray(opened(path, content, self.shape[-1], self.colour)))


def indices_on(images):
    """The device where the indices of a batch of ``images`` should be, so that nobody waits for another: that of a
    Tensor, but the CPU for images that are decoded, which may begin before the device is done with those before."""
    return torch.device("cpu") if isinstance(images, IndexedImages) else images.device


@lru_cache(maxsize=1)
def _threads():
    """As many as there are cores: bits do not depend on it."""
    Image.init()  # not safe to leave to the threads
    return ThreadPoolExecutor(os.cpu_count())
