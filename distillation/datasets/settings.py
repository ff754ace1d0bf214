"""The sections of params.yaml that name a dataset."""

from typing import Literal

from pydantic import ConfigDict, Field, field_validator

from distillation.datasets.catalogue import CATALOGUE, INDEXED, facts
from distillation.params import Section
from distillation.runtime.errors import BadInput

NONE = "data/none"


class DatasetSettings(Section):
    """One dataset.

    Attributes:
        name: a key of the catalogue.
        archive: a user's archive, directory or listing, for ``imagefolder``; ``data/none`` for every other name.
        size: pixels of a side to resize to; None keeps the native ones (Imagenette's vary: it needs a size).
        colour: ``grey`` or ``rgb`` converts; ``auto`` keeps what the files are, and takes a mixture as RGB.
        flip: whether a mirrored image keeps its class, which augmentations respect; ``auto``: as the catalogue says.
        stats: ``published`` takes the channels' published mean and std, where there are any for those channels, else
            computes them as ``computed`` does; the container's ``stats`` says which it was.
        zca: whiten with ZCA instead of normalising channels.
        form: ``whole`` (all pixels in memory) or ``index`` (images stay in files and are decoded when they are wanted);
            ``auto``: index above 8 GB of pixels, see ``indexing``.
    """

    name: str
    archive: str
    size: int | None = Field(ge=4, le=4096)
    colour: Literal["auto", "rgb", "grey"]
    flip: Literal["auto"] | bool
    stats: Literal["published", "computed"]
    zca: bool
    form: Literal["auto", "whole", "index"]

    @field_validator("name")
    @classmethod
    def _known(cls, name):
        if name not in CATALOGUE:
            raise ValueError(f"should be one of {', '.join(CATALOGUE)}")
        return name

    @field_validator("archive")
    @classmethod
    def _where_it_matters(cls, archive, info):
        name = info.data.get("name")
        if name == "imagefolder" and archive in ("", NONE):
            raise ValueError(
                "imagefolder needs the path of a directory, a .zip, .tar, .tar.gz or .tar.xz file, or a listing"
            )
        if name and name != "imagefolder" and archive != NONE:
            raise ValueError(f"{name} is read from its published files: only imagefolder takes an archive, else {NONE}")
        return archive

    @field_validator("size")
    @classmethod
    def _where_sizes_vary(cls, size, info):
        known = facts(info.data["name"]) if "name" in info.data else None
        if size is None and known and known.size is None:
            raise ValueError(f"{info.data['name']}'s images differ in size: it should be a number of pixels")
        return size

    @field_validator("form")
    @classmethod
    def _where_images_are_files(cls, form, info):
        if form == "index" and (name := info.data.get("name")) not in INDEXED:
            raise ValueError(f"{name} is read whole: only {' and '.join(INDEXED)} can be index, else auto or whole")
        if form == "index" and info.data.get("zca"):
            raise ValueError(
                "zca looks at all pixels at once, which an index does not hold: set zca to false or form to whole"
            )
        if form == "index" and info.data.get("size", 0) is None:
            raise ValueError("an index needs the size that images are decoded to: set the size")
        return form


class SourceSettings(DatasetSettings):
    """A dataset of the maps ``sources`` and ``targets``: only ``name`` is required, the rest defaults as stated here.

    ``sha256`` (of the file, or as ``archives.digest`` of a directory) pins an imagefolder's content. A source inherits
    nothing from the section ``dataset``, so a source stays the same when the dataset changes.
    """

    model_config = ConfigDict(validate_default=True)

    archive: str = NONE
    size: int | None = Field(default=None, ge=4, le=4096)
    colour: Literal["auto", "rgb", "grey"] = "auto"
    flip: Literal["auto"] | bool = "auto"
    stats: Literal["published", "computed"] = "published"
    zca: bool = False
    form: Literal["auto", "whole", "index"] = "auto"
    sha256: str | None = None


def check_content(settings, path, found=None):
    """Raise BadInput where a source's archive is not pinned: DVC tracks its parameters, not its file.

    ``found`` is the archive's sha256 once it has been read.
    """
    if settings.name == "imagefolder" and (settings.sha256 is None or found not in (None, settings.sha256)):
        is_it = f"; that of {settings.archive} is {found}" if found else ""
        raise BadInput(
            f"{path}.sha256 must be the sha256 of its archive, so that a change of the images is noticed{is_it}."
        )
