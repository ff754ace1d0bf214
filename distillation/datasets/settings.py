"""The sections of params.yaml that name a dataset: ``dataset``, and the entries of ``sources`` and ``targets``."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, PlainValidator, ValidationInfo, field_validator, model_validator

from distillation.bounds import LARGEST
from distillation.datasets.catalogue import CATALOGUE, INDEXED, Statistics, facts
from distillation.params import Section
from distillation.runtime.errors import BadInput

NONE = "data/none"


def _stats(value: object) -> str | Statistics:
    """Validates the setting ``stats``: returns a word as it is, and a dict of two lists as the pair (mean, std)."""
    described = [name for name, dataset in CATALOGUE.items() if dataset.stats or dataset.resized]
    if isinstance(value, dict):
        return _given(value)
    if isinstance(value, str) and value in ("published", "computed", *described):
        return value
    raise ValueError(
        f"should be published, computed, a dataset whose statistics are published ({', '.join(described)}), or "
        "{mean: [...], std: [...]} of pixels in [0, 1]"
    )


def _given(value: dict) -> Statistics:
    """Validates the lists ``mean`` and ``std``: of 1 or 3 channels, in the range that pixels in [0, 1] can have.

    No distribution on [0, 1] has a std above 0.5.
    """
    mean, std = lists = [value.get(key, []) for key in ("mean", "std")]
    numbers = all(isinstance(each, list) and all(type(number) in (int, float) for number in each) for each in lists)
    if value.keys() != {"mean", "std"} or not numbers or not len(mean) == len(std) in (1, 3):
        raise ValueError("should be {mean: [...], std: [...]} with a number for each of 1 or 3 channels")
    if not all(0 <= number <= 1 for number in mean) or not all(0 < number <= 0.5 for number in std):
        raise ValueError(
            "should have means of 0 to 1 and std above 0 and up to 0.5, as pixels in [0, 1] have them: divide those of 0 "
            "to 255 by 255"
        )
    return tuple(map(float, mean)), tuple(map(float, std))


Stats = Annotated[str | Statistics, PlainValidator(_stats)]


class DatasetSettings(Section):
    """The settings of one dataset.

    Attributes:
        name: a key of the catalogue, such as ``cifar10``, or ``imagefolder`` for images of one's own.
        archive: a user's archive, directory or listing, for ``imagefolder``; ``data/none`` for every other name.
        pixels: pixels of a side to resize to, from 4 on; None keeps the native size (where that varies, as in
            Imagenette, a number is required).
        colour: ``grey`` or ``rgb`` converts; ``auto`` keeps the files' own, and RGB if they are mixed.
        flip: whether a mirrored image keeps its class, which augmentations respect; ``auto``: the catalogue's value.
        stats: ``published``: the catalogue's mean and std of the channels, if there are any for those channels, else
            computed ones; ``computed``: those of the training images; the name of a dataset of the catalogue: that one's;
            ``{mean: [...], std: [...]}``: these, of pixels in [0, 1]. The record of the dataset holds which it was.
        zca: whether images are whitened by ZCA (``normalise.whitening``) instead of normalised by channel.
        form: ``whole`` (all pixels in memory) or ``index`` (images stay in files and are decoded when they are used);
            ``auto``: index above 8 GB of pixels, see ``indexing``.
        faulty: ``refuse`` a dataset with image files that cannot be used, or ``skip`` these files: it is read without
            them, and its record and the report name them.
    """

    name: str
    archive: str
    pixels: int | None = Field(ge=4, le=LARGEST)
    colour: Literal["auto", "rgb", "grey"]
    flip: Literal["auto"] | bool
    stats: Stats
    zca: bool
    form: Literal["auto", "whole", "index"]
    faulty: Literal["refuse", "skip"]

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, values: dict[str, Any]) -> dict[str, Any]:
        if "size" in values:
            raise ValueError("has a size, which is now called pixels: DVC's run cache overlooks keys called size")
        return values

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in CATALOGUE:
            raise ValueError(f"should be one of {', '.join(CATALOGUE)}")
        return name

    @field_validator("archive")
    @classmethod
    def _where_it_matters(cls, archive: str, info: ValidationInfo) -> str:
        name = info.data.get("name")
        if name == "imagefolder" and archive in ("", NONE):
            raise ValueError(
                "imagefolder needs the path of a directory, a .zip, .tar, .tar.gz or .tar.xz file, or a listing"
            )
        if name and name != "imagefolder" and archive != NONE:
            raise ValueError(f"{name} is read from its published files: only imagefolder takes an archive, else {NONE}")
        return archive

    @field_validator("pixels")
    @classmethod
    def _where_sizes_vary(cls, pixels: int | None, info: ValidationInfo) -> int | None:
        native = facts(info.data["name"]) if "name" in info.data else None
        if pixels is None and native and native.size is None:
            raise ValueError(f"{info.data['name']}'s images differ in size: it should be a number of pixels")
        return pixels

    @field_validator("zca")
    @classmethod
    def _instead_of_statistics(cls, zca: bool, info: ValidationInfo) -> bool:
        if zca and info.data.get("stats", "published") not in ("published", "computed"):
            raise ValueError("whitening takes the place of stats: set stats to published or zca to false")
        return zca

    @field_validator("form")
    @classmethod
    def _where_images_are_files(cls, form: str, info: ValidationInfo) -> str:
        if form == "index" and (name := info.data.get("name")) not in INDEXED:
            raise ValueError(f"{name} is read whole: only {' and '.join(INDEXED)} can be index, else auto or whole")
        if form == "index" and info.data.get("zca"):
            raise ValueError(
                "zca looks at all pixels at once, which an index does not hold: set zca to false or form to whole"
            )
        if form == "index" and info.data.get("pixels", 0) is None:
            raise ValueError("an index needs the number of pixels that images are decoded to: set pixels")
        return form


class SourceSettings(DatasetSettings):
    """The settings of one entry of the maps ``sources`` and ``targets``; all but ``name`` have the defaults below.

    A source is a further dataset that teachers are trained on, a target one that networks are transferred to. Neither
    inherits anything from the section ``dataset``, so both stay the same when that changes.

    Attributes:
        sha256: SHA-256 of an imagefolder's archive (``archives.digest`` of a directory), which pins its content.
    """

    model_config = ConfigDict(validate_default=True)

    archive: str = NONE
    pixels: int | None = Field(default=None, ge=4, le=LARGEST)
    colour: Literal["auto", "rgb", "grey"] = "auto"
    flip: Literal["auto"] | bool = "auto"
    stats: Stats = "published"
    zca: bool = False
    form: Literal["auto", "whole", "index"] = "auto"
    faulty: Literal["refuse", "skip"] = "refuse"
    sha256: str | None = None


def statistics_of(settings: DatasetSettings, channels: int, size: int) -> Statistics | None:
    """The mean and std by which settings without ZCA normalise images.

    Args:
        settings: of the dataset.
        channels: channels of its images, 1 or 3.
        size: pixels of a side.

    Returns:
        (mean, std) for pixels in [0, 1], a number for each channel; None if they are to be computed on the training
        images: by ``computed``, or by ``published`` where none are published for such images.

    Raises:
        BadInput: ``stats`` names or gives statistics that such images do not have.
    """
    if settings.stats == "computed":
        return None
    given = settings.name if settings.stats == "published" else settings.stats
    pair = CATALOGUE[given].statistics(size) if isinstance(given, str) else given
    if pair and len(pair[0]) == channels:
        return pair
    if settings.stats == "published":
        return None
    if pair:
        described, loaded = ("grey" if count == 1 else "RGB" for count in (len(pair[0]), channels))
        raise BadInput(f"stats is the mean and std of {described} images, but those of {settings.name} are {loaded}.")
    sizes = ", ".join(map(str, CATALOGUE[str(given)].resized))
    raise BadInput(f"stats is {given}, whose mean and std are published for {sizes} pixels, but not for {size}.")


def check_content(settings: SourceSettings, path: str, sha256: str | None = None) -> None:
    """Checks that the archive of a source is pinned: DVC tracks its parameters, not its file.

    Args:
        settings: the source.
        path: dotted path of its section, for the message.
        sha256: that of the archive, once it has been read.

    Raises:
        BadInput: the settings have no sha256 of the archive, or another one.
    """
    if settings.name == "imagefolder" and (settings.sha256 is None or sha256 not in (None, settings.sha256)):
        actual = f"; that of {settings.archive} is {sha256}" if sha256 else ""
        raise BadInput(
            f"{path}.sha256 must be the sha256 of its archive, so that a change of the images is noticed{actual}."
        )
