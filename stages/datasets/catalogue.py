"""What is known of every dataset before a byte of it is read: shape, classes, statistics, files.

URLs, sizes and checksums are those that torchvision and tensorflow-datasets verify. Means and standard deviations are
the ones that DC, DSA and DM train with (Zhao et al., ICLR 2021, ICML 2021, WACV 2023: official code); Imagenette and
ImageNet-64 take ImageNet's, as there. Datasets without a published pair have none here.
"""

from dataclasses import dataclass
from typing import NamedTuple

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
DIGITS = tuple("0123456789")
INDEXED = ("imagefolder", "imagenette")  # of images in files, which may be too many to be held in memory


@dataclass(frozen=True)
class File:
    """A published file: its name, size in bytes, checksum (``algorithm:hex``), and where it can be had, best first.

    A file without ``urls`` is behind a login; ``page`` says where a person gets it.
    """

    name: str
    bytes: int
    checksum: str
    urls: tuple = ()
    page: str = ""


@dataclass(frozen=True)
class Dataset:
    """A dataset's static facts.

    Attributes:
        channels: 1 or 3; None where the files decide.
        size: pixels of a side as published; None where they vary.
        classes: names in label order; empty where only the archive names them.
        count: the number of classes; None where the files decide.
        flip: whether a mirrored image keeps its class.
        stats: (mean, std) of each channel of pixels in [0, 1]; None where none is published.
        files: what it is read from, in the order that its reader takes them.
    """

    channels: int | None
    size: int | None
    classes: tuple = ()
    count: int | None = None
    flip: bool = True
    stats: tuple | None = None
    files: tuple = ()


class Facts(NamedTuple):
    """The native shape of a dataset; ``size`` is None where it varies."""

    channels: int
    size: int | None
    classes: int


def facts(name):
    """The Facts of a dataset, or None of ``imagefolder``, whose files decide."""
    dataset = CATALOGUE[name]
    return Facts(dataset.channels, dataset.size, dataset.count) if dataset.count else None


def _named(channels, size, classes, **rest):
    return Dataset(channels, size, tuple(classes), len(classes), **rest)


def _idx(folders, *rows):
    return tuple(
        File(f"{name}-ubyte.gz", size, f"sha256:{digest}", tuple(f"{folder}/{name}-ubyte.gz" for folder in folders))
        for name, size, digest in rows
    )


def _one(folder, name, size, checksum):
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
_IMAGENET64_PAGE = "https://image-net.org/download-images.php (downsampled, 64x64, npz; after a login)"


CATALOGUE = {
    "digits": _named(1, 8, DIGITS, flip=False),
    "mnist": _named(
        1,
        28,
        DIGITS,
        flip=False,
        stats=((0.1307,), (0.3081,)),
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
        stats=((0.2861,), (0.3530,)),
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
        flip=False,
        stats=((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
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
        stats=((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
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
        stats=((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
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
        stats=IMAGENET,
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
        stats=IMAGENET,
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
        stats=IMAGENET,
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
    "imagefolder": Dataset(None, None),
}
