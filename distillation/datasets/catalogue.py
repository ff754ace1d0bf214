"""Static facts about every dataset: shape, classes, statistics, files.

URLs, sizes and checksums are those that torchvision and tensorflow-datasets verify. Each entry names the code that its
means and standard deviations are of (``origin``); datasets without a published pair have none here. Other code has other
pairs for the same images: the recipes name them where a paper's numbers were made with them (``dataset.stats``).

The green mean of flowers is 0.3030 at 32 px but 0.3830 at 64 and 224 px, as in KRR-ST's code.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Statistics = tuple[tuple[float, ...], tuple[float, ...]]  # mean and std of each channel of pixels in [0, 1]

# The official code of each paper, by the repository and file that the statistics are in.
_DC = "DC, DSA and DM (VICO-UoE/DatasetCondensation, utils.py)"
_APM = "APM (mchen725/DD_APM, utils.py): ImageNet's"
_MTT = "MTT (GeorgeCazenavette/mtt-distillation, utils.py): ImageNet's"
_KRR_ST = "KRR-ST (db-Lee/selfsup_dd, data/augmentation.py)"

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
DIGITS = tuple("0123456789")
INDEXED = ("imagefolder", "imagenette")  # datasets of images in files, which may exceed the memory


@dataclass(frozen=True)
class File:
    """A published file.

    Attributes:
        name: its name.
        bytes: its size, in bytes.
        checksum: ``algorithm:hex``, with ``md5`` or ``sha256``.
        urls: its addresses, best first; empty if it is behind a login.
        page: address of the page from which users download it by hand.
    """

    name: str
    bytes: int
    checksum: str
    urls: tuple[str, ...] = ()
    page: str = ""


@dataclass(frozen=True)
class Dataset:
    """A dataset's static facts.

    Attributes:
        channels: 1 or 3; None if the files decide.
        size: pixels of a side as published; None if they vary.
        classes: names in label order; empty if only the archive names them.
        count: the number of classes; None if the files decide.
        images: the number of training images; None if the files decide.
        flip: whether a mirrored image keeps its class.
        stats: published (mean, std) of each channel of pixels in [0, 1], or None.
        resized: published (mean, std) for images of one size, by pixels of a side.
        origin: the code that ``stats`` and ``resized`` are of; empty if there are none.
        terms: the authors' terms of use.
        files: its files, in the order of its reader's arguments.
    """

    channels: int | None
    size: int | None
    classes: tuple[str, ...] = ()
    count: int | None = None
    images: int | None = None
    flip: bool = True
    stats: Statistics | None = None
    resized: dict[int, Statistics] = field(default_factory=dict)
    origin: str = ""
    terms: str = "No licence is stated by its authors."
    files: tuple[File, ...] = ()

    @property
    def smallest_class(self) -> int | None:
        """The most training images that the smallest class can have: the number of each, where all are equal."""
        return self.images // self.count if self.images and self.count else None

    def statistics(self, size: int) -> Statistics | None:
        """The published (mean, std) of pixels in [0, 1] of images of ``size`` pixels a side; None if there are none."""
        return self.resized.get(size, self.stats)


class Facts(NamedTuple):
    """The native shape of a dataset.

    Attributes:
        channels: 1 or 3.
        size: pixels of a side; None if they vary.
        classes: number of classes.
    """

    channels: int
    size: int | None
    classes: int


def facts(name: str) -> Facts | None:
    """The Facts of a dataset before any file is read; None for ``imagefolder``, whose files decide."""
    dataset = CATALOGUE[name]
    if not dataset.count or not dataset.channels:
        return None
    return Facts(dataset.channels, dataset.size, dataset.count)


def _named(channels: int, size: int | None, classes: Sequence[str], **rest: Any) -> Dataset:
    return Dataset(channels, size, tuple(classes), len(classes), **rest)


def _idx(folders: Sequence[str], *rows: tuple[str, int, str]) -> tuple[File, ...]:
    return tuple(
        File(f"{name}-ubyte.gz", size, f"sha256:{digest}", tuple(f"{folder}/{name}-ubyte.gz" for folder in folders))
        for name, size, digest in rows
    )


def _one(folder: str, name: str, size: int, checksum: str) -> File:
    return File(name, size, checksum, (f"{folder}/{name}",))


_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
_CIFAR100 = [
    "apple",
    "aquarium_fish",
    "baby",
    "bear",
    "beaver",
    "bed",
    "bee",
    "beetle",
    "bicycle",
    "bottle",
    "bowl",
    "boy",
    "bridge",
    "bus",
    "butterfly",
    "camel",
    "can",
    "castle",
    "caterpillar",
    "cattle",
    "chair",
    "chimpanzee",
    "clock",
    "cloud",
    "cockroach",
    "couch",
    "crab",
    "crocodile",
    "cup",
    "dinosaur",
    "dolphin",
    "elephant",
    "flatfish",
    "forest",
    "fox",
    "girl",
    "hamster",
    "house",
    "kangaroo",
    "keyboard",
    "lamp",
    "lawn_mower",
    "leopard",
    "lion",
    "lizard",
    "lobster",
    "man",
    "maple_tree",
    "motorcycle",
    "mountain",
    "mouse",
    "mushroom",
    "oak_tree",
    "orange",
    "orchid",
    "otter",
    "palm_tree",
    "pear",
    "pickup_truck",
    "pine_tree",
    "plain",
    "plate",
    "poppy",
    "porcupine",
    "possum",
    "rabbit",
    "raccoon",
    "ray",
    "road",
    "rocket",
    "rose",
    "sea",
    "seal",
    "shark",
    "shrew",
    "skunk",
    "skyscraper",
    "snail",
    "snake",
    "spider",
    "squirrel",
    "streetcar",
    "sunflower",
    "sweet_pepper",
    "table",
    "tank",
    "telephone",
    "television",
    "tiger",
    "tractor",
    "train",
    "trout",
    "tulip",
    "turtle",
    "wardrobe",
    "whale",
    "willow_tree",
    "wolf",
    "woman",
    "worm",
]
_STL10 = ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"]
_IMAGENETTE = (
    "tench",
    "English springer",
    "cassette player",
    "chain saw",
    "church",
    "French horn",
    "garbage truck",
    "gas pump",
    "golf ball",
    "parachute",
)

_MNIST_FOLDERS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
)
_FASHION_FOLDERS = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",)
_SVHN = "http://ufldl.stanford.edu/housenumbers"
_CIFAR = "https://www.cs.toronto.edu/~kriz"
_AIRCRAFT = "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives"
_FLOWERS = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102"
_CUB = ("https://data.caltech.edu/records/65de6-vp158/files", "https://s3.amazonaws.com/fast-ai-imageclas")
_DOGS = "http://vision.stanford.edu/aditya86/ImageNetDogs"
_CARS_PAGE = (
    "a copy that somebody kept: its authors' page is gone since 2023 (github.com/pytorch/vision/issues/7545 has some)"
)
_RESEARCH = "For non-commercial research and education only"
_OF_IMAGENET = f"{_RESEARCH}: the images are ImageNet's, under its terms of access."
_IMAGENET64_PAGE = "https://image-net.org/download-images.php (downsampled, 64x64, npz; after a login)"


CATALOGUE = {
    "digits": _named(1, 8, DIGITS, images=1_442, flip=False, terms="CC BY 4.0 (UCI Machine Learning Repository)."),
    "mnist": _named(
        1,
        28,
        DIGITS,
        images=60_000,
        flip=False,
        stats=((0.1307,), (0.3081,)),
        origin=_DC,
        terms="CC BY-SA 3.0.",
        files=_idx(
            _MNIST_FOLDERS,
            ("train-images-idx3", 9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
            ("train-labels-idx1", 28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
            ("t10k-images-idx3", 1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
            ("t10k-labels-idx1", 4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        ),
    ),
    "fashionmnist": _named(
        1,
        28,
        _FASHION,
        images=60_000,
        stats=((0.2861,), (0.3530,)),
        origin=_DC,
        terms="MIT (Zalando SE).",
        files=_idx(
            _FASHION_FOLDERS,
            ("train-images-idx3", 26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
            ("train-labels-idx1", 29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
            ("t10k-images-idx3", 4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
            ("t10k-labels-idx1", 5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        ),
    ),
    "svhn": _named(
        3,
        32,
        DIGITS,
        images=73_257,
        flip=False,
        stats=((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
        origin=_DC,
        terms="For non-commercial use only.",
        files=(
            _one(
                _SVHN,
                "train_32x32.mat",
                182040794,
                "sha256:435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
            ),
            _one(
                _SVHN,
                "test_32x32.mat",
                64275384,
                "sha256:cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
            ),
        ),
    ),
    "cifar10": _named(
        3,
        32,
        _CIFAR10,
        images=50_000,
        stats=((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        origin=_DC,
        files=(
            _one(
                _CIFAR,
                "cifar-10-binary.tar.gz",
                170052171,
                "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            ),
        ),
    ),
    "cifar100": _named(
        3,
        32,
        _CIFAR100,
        images=50_000,
        stats=((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
        origin=_DC,
        files=(
            _one(
                _CIFAR,
                "cifar-100-binary.tar.gz",
                168513733,
                "sha256:58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
            ),
        ),
    ),
    "stl10": _named(
        3,
        96,
        _STL10,
        images=5_000,
        terms=_OF_IMAGENET,
        files=(
            _one(
                "http://ai.stanford.edu/~acoates/stl10",
                "stl10_binary.tar.gz",
                2640397119,
                "sha256:f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866",
            ),
        ),
    ),
    "tinyimagenet": Dataset(
        3,
        64,
        count=200,
        images=100_000,
        stats=IMAGENET,
        origin=_DC,
        terms=_OF_IMAGENET,
        files=(
            _one(
                "http://cs231n.stanford.edu",
                "tiny-imagenet-200.zip",
                248100043,
                "md5:90528d7ca1a48142e341f4ef8d21d0de",
            ),
        ),
    ),
    "imagenette": _named(
        3,
        None,
        _IMAGENETTE,
        images=9_469,
        stats=IMAGENET,
        origin=_MTT,
        terms=_OF_IMAGENET,
        files=(
            _one(
                "https://s3.amazonaws.com/fast-ai-imageclas",
                "imagenette2.tgz",
                1557161267,
                "sha256:6cbfac238434d89fe99e651496f0812ebc7a10fa62bd42d6874042bf01de4efd",
            ),
        ),
    ),
    "imagenet64": _named(
        3,
        64,
        # The files number the classes from 1 and do not name them (nor are they in the order of the WordNet ids).
        [str(number) for number in range(1, 1001)],
        images=1_281_167,
        stats=IMAGENET,
        origin=_APM,
        terms=_OF_IMAGENET,
        files=(
            File(
                "Imagenet64_train_part1_npz.zip",
                6783426789,
                "sha256:9422dc1dc5d092e9814a70a1cb7fc74880d2db5d88a0cb8a34ee363b12bde3f1",
                page=_IMAGENET64_PAGE,
            ),
            File(
                "Imagenet64_train_part2_npz.zip",
                6780506068,
                "sha256:9fafc115afb7e6c301e66dc16b2d737152b427bd5dab26e1293487a6819c7f30",
                page=_IMAGENET64_PAGE,
            ),
            File(
                "Imagenet64_val_npz.zip",
                529522927,
                "sha256:e1e75133158a1924135a9c6f97a80d2d237b158945e0b34074e58e6c8430eeb8",
                page=_IMAGENET64_PAGE,
            ),
        ),
    ),
    "aircraft": Dataset(
        3,
        None,
        count=100,
        images=6_667,
        resized={
            32: ((0.4804, 0.5116, 0.5349), (0.2021, 0.1953, 0.2297)),
            64: ((0.4797, 0.5108, 0.5341), (0.2117, 0.2049, 0.2380)),
            224: ((0.4797, 0.5109, 0.5342), (0.2204, 0.2135, 0.2451)),
        },
        origin=_KRR_ST,
        terms=f"{_RESEARCH}, exclusively.",
        files=(_one(_AIRCRAFT, "fgvc-aircraft-2013b.tar.gz", 2753340328, "md5:d4acdd33327262359767eeaa97a4f732"),),
    ),
    "flowers": _named(
        3,
        None,
        [str(number) for number in range(1, 103)],  # the files number the classes and do not name them
        images=1_020,
        resized={
            32: ((0.4344, 0.3030, 0.2955), (0.2811, 0.2318, 0.2607)),
            64: ((0.4344, 0.3830, 0.2955), (0.2878, 0.2390, 0.2674)),
            224: ((0.4344, 0.3830, 0.2955), (0.2928, 0.2449, 0.2726)),
        },
        origin=_KRR_ST,
        files=(
            _one(
                _FLOWERS,
                "102flowers.tgz",
                344862509,
                "sha256:2d01ecc807db462958cfe3d92f57a8c252b4abd240eb955770201e45f783b246",
            ),
            _one(
                _FLOWERS,
                "imagelabels.mat",
                502,
                "sha256:4903e94206bac23bf772aadf06451916df56b58fc483a62db32a97b82656651d",
            ),
            _one(
                _FLOWERS,
                "setid.mat",
                14989,
                "sha256:46b8678f91fd95d3c8f4feab80d271a6c834a1dd896fe29fd3e6ad9ce5c8dccd",
            ),
        ),
    ),
    "cub": Dataset(
        3,
        None,
        count=200,
        images=5_994,
        resized={
            32: ((0.4857, 0.4995, 0.4324), (0.2145, 0.2098, 0.2496)),
            64: ((0.4856, 0.4995, 0.4324), (0.2218, 0.2170, 0.2564)),
            224: ((0.4856, 0.4994, 0.4324), (0.2295, 0.2250, 0.2635)),
        },
        origin=_KRR_ST,
        terms=f"{_RESEARCH}.",
        files=(
            File(
                "CUB_200_2011.tgz",
                1150585339,
                "sha256:0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081",
                tuple(f"{folder}/CUB_200_2011.tgz" for folder in _CUB),
            ),
        ),
    ),
    "dogs": Dataset(
        3,
        None,
        count=120,
        images=12_000,
        resized={
            32: ((0.4765, 0.4516, 0.3911), (0.2490, 0.2435, 0.2479)),
            64: ((0.4765, 0.4517, 0.3911), (0.2551, 0.2495, 0.2539)),
            224: ((0.4765, 0.4517, 0.3912), (0.2617, 0.2564, 0.2607)),
        },
        origin=_KRR_ST,
        terms=_OF_IMAGENET,
        files=(
            _one(
                _DOGS,
                "images.tar",
                793579520,
                "sha256:a443fc2f9a851aa1a7b8e4fa4af94b8459fce2c9f5a2f4dd4669cf9673a4ec58",
            ),
            _one(_DOGS, "lists.tar", 481280, "sha256:34b47cacd9a98b5d150e084f24d29391c084c55272295ec65c85651bc35f4d6c"),
        ),
    ),
    "cars": Dataset(
        3,
        None,
        count=196,
        images=8_144,
        resized={
            32: ((0.4706, 0.4600, 0.4548), (0.2746, 0.2740, 0.2831)),
            64: ((0.4707, 0.4601, 0.4549), (0.2836, 0.2826, 0.2914)),
            224: ((0.4707, 0.4601, 0.4549), (0.2927, 0.2917, 0.3001)),
        },
        origin=_KRR_ST,
        files=tuple(
            File(name, size, f"sha256:{digest}", page=_CARS_PAGE)
            for name, size, digest in (
                ("cars_train.tgz", 979269282, "512b227b30e2f0a8aab9e09485786ab4479582073a144998da74d64b801fd288"),
                ("cars_test.tgz", 977350468, "bffea656d6f425cba3c91c6d83336e4c5f86c6cffd8975b0f375d3a10da8e243"),
                ("car_devkit.tgz", 330960, "b97deb463af7d58b6bfaa18b2a4de9829f0f79e8ce663dfa9261bf7810e9accd"),
                (
                    "cars_test_annos_withlabels.mat",
                    185758,
                    "790f75be8ea34eeded134cc559332baf23e30e91367e9ddca97d26ed9b895f05",
                ),
            )
        ),
    ),
    "imagefolder": Dataset(None, None, terms="Those of whoever made it."),
}
