"""The names of networks: their grammar, their canonical spelling, the images that they can take. Imports no torch.

One word carries the whole choice, so that a parameter, a table and a file name can hold it. A name is a family
followed by tokens, each kind at most once and in any order; the first token of each kind is the default:

==================  ====================================================================================
family              tokens
==================  ====================================================================================
``ConvNet``         ``D3`` blocks; ``W128`` channels of every block, or ``W128-256-512`` of each in turn;
                    activation ``AR`` ReLU, ``AS`` sigmoid, ``AL`` leaky ReLU (0.01), ``ASwish``;
                    norm ``IN`` instance, ``BN`` batch, ``LN`` layer, ``GN`` 4 groups, ``NN`` none;
                    pooling ``AP`` average, ``MP`` maximum, ``NP`` none
``AlexNet``         norm ``NN``, ``IN``, ``BN``
``VGG11``           norm ``IN``, ``BN``
``ResNet10/18/50``  ``W64`` channels of the stem and the first stage, doubled by each of the next three;
                    norm ``IN``, ``BN``; ``_AP``: stride 1 and average pooling in place of stride 2;
                    ``_P2``: the 3x3 stem padded by 2 (KRR-ST) at any image size;
                    initial weights ``_He``: as torchvision draws them (SRe2L, CDA, SC-DD, KRR-ST),
                    ``_He0``: the same with silent branches (not ResNet10, whose branches are always so)
``MobileNetV2``     none (batch norm, expansion 2)
``AlexCifarNet``    none
``LeNet``, ``MLP``  none
==================  ====================================================================================

``canonical`` spells a name in the order of this table without defaults: ``ConvNetBND4`` is ``ConvNetD4BN``.
"""

import difflib
import re
from dataclasses import dataclass

from distillation.runtime.errors import BadInput

_RESNET = {"norm": ("IN", "BN"), "pooling": ("", "_AP"), "stem": ("", "_P2"), "init": ("", "_He", "_He0")}
_CHOICES = {
    "ConvNet": {
        "activation": ("AR", "AS", "AL", "ASwish"),
        "norm": ("IN", "BN", "LN", "GN", "NN"),
        "pooling": ("AP", "MP", "NP"),
    },
    "AlexNet": {"norm": ("NN", "IN", "BN")},
    "VGG11": {"norm": ("IN", "BN")},
    "ResNet10": {**_RESNET, "init": ("", "_He")},
    "ResNet18": _RESNET,
    "ResNet50": _RESNET,
    "MobileNetV2": {"norm": ("BN",)},
    "AlexCifarNet": {"norm": ("NN",)},
    "LeNet": {"norm": ("NN",)},
    "MLP": {"norm": ("NN",)},
}
_FEATURELESS = ("AlexCifarNet", "LeNet", "MLP")  # their published forms have no features to match
_RESIDUAL = ("ResNet10", "ResNet18", "ResNet50")
LARGE = 128  # house: pixels from which residual networks begin with the original 7x7 stem and its maximum pooling
_BLOCKS, _WIDTH, _STEM = 3, 128, 64  # defaults: blocks and channels of a ConvNet, channels of a ResNet's stem
_LONGEST = 100  # letters of a name: twelve blocks of five digits each; it is part of names of files
# names that a wrong one is compared with, for the suggestions of the message
_USUAL = """
    ConvNet ConvNetBN ConvNetNN ConvNetLN ConvNetGN ConvNetD1 ConvNetD2 ConvNetD4 ConvNetD5 ConvNetW32 ConvNetW64
    ConvNetW256 ConvNetAS ConvNetAL ConvNetASwish ConvNetASwishBN ConvNetMP ConvNetNP ConvNetW128-256-512BN AlexNet
    AlexNetIN AlexNetBN VGG11 VGG11BN ResNet10 ResNet10BN ResNet10BN_P2 ResNet10BN_P2_He ResNet10W32BN ResNet18
    ResNet18BN ResNet18_AP ResNet18BN_AP ResNet18BN_P2 ResNet18BN_He ResNet18BN_P2_He ResNet18BN_P2_He0 ResNet50
    ResNet50BN ResNet50BN_He MobileNetV2 AlexCifarNet LeNet MLP
"""
GRAMMAR = (
    "ConvNet with D<blocks>, W<width> or W<width>-<width>-..., AR|AS|AL|ASwish, IN|BN|LN|GN|NN and AP|MP|NP "
    "(as ConvNetD4W64BN), AlexNet or AlexNetIN|BN, VGG11 or VGG11BN, ResNet10|18|50 with W<width>, BN, _AP, _P2 and "
    "_He|_He0, MobileNetV2, AlexCifarNet, LeNet or MLP"
)


@dataclass(frozen=True)
class Spec:
    """The parts of a network's name, defaults filled in; fields that its family lacks are empty.

    Attributes:
        family: the first part of the name, such as ``ConvNet`` or ``ResNet18``.
        widths: channels of each of a ConvNet's blocks or of a ResNet's four stages.
        activation: ``AR``, ``AS``, ``AL`` or ``ASwish``; see the table at the top of the module for all tokens.
        norm: ``IN``, ``BN``, ``LN``, ``GN`` or ``NN``.
        pooling: of a ConvNet ``AP``, ``MP`` or ``NP``, of a ResNet ``_AP`` or empty.
        stem: of a ResNet ``_P2`` or empty.
        init: of a ResNet ``_He``, ``_He0`` or empty.
    """

    family: str
    widths: tuple[int, ...] = ()
    activation: str = ""
    norm: str = ""
    pooling: str = ""
    stem: str = ""
    init: str = ""


def parse(name: str) -> Spec:
    """Parses a network name in any spelling, such as ``ConvNetBND4``, into its parts.

    Raises:
        BadInput: the name is not of the grammar (the message holds the grammar and similar names), is too long, has a
            kind of token twice, widths that contradict its depth, or widths that ``GN`` cannot divide.

    Examples:
        >>> parse("ConvNetD2W64BN").widths
        (64, 64)
    """
    if len(name) > _LONGEST:
        raise BadInput(f"a network's name of {len(name):,} letters begins with '{name[:20]}': {_LONGEST} are the most.")
    family = next((family for family in _CHOICES if name.startswith(family)), None)
    if family is None:
        raise _unknown(name)
    parts = _tokens(name, family)
    depth, widths = parts.pop("depth", None), parts.pop("widths", None)
    defaults = {kind: tokens[0] for kind, tokens in _CHOICES[family].items()}
    spec = Spec(family, _widths(name, family, depth, widths), **{**defaults, **parts})
    if spec.norm == "GN" and any(width % 4 for width in spec.widths):
        raise BadInput(f"{name} cannot split its channels into 4 groups: GN needs widths that are multiples of 4.")
    return spec


def canonical(name: str) -> str:
    """The canonical spelling of a name: tokens in the order of the table, defaults left out.

    Names of the same network have the same canonical spelling, so that they can be compared.

    Raises:
        BadInput: as ``parse``.

    Examples:
        >>> canonical("ConvNetBND4AP")
        'ConvNetD4BN'
    """
    spec = parse(name)
    pairs = [(getattr(spec, kind), tokens[0]) for kind, tokens in _CHOICES[spec.family].items()]
    return "".join([spec.family, _width_tokens(spec), *(token for token, default in pairs if token != default)])


def check(name: str, channels: int, size: int) -> Spec:
    """Parses a name and checks that the network can take images of a size.

    Args:
        name: a network name.
        channels: channels of the images.
        size: pixels of a side of the images.

    Raises:
        BadInput: as ``parse``, or the images are too small: poolings or convolutions would leave no pixel, or instance
            norm only zeros. The message holds the smallest size or another network.
    """
    spec = parse(name)
    side = size + 2 * (first_padding(0, channels, size) if _pads(spec) else 0)
    halvings = _halvings(spec)
    if side < 2**halvings:
        fewer = " (or fewer blocks)" if spec.family == "ConvNet" else ""
        needs = f"it needs at least {2**halvings} pixels{fewer}"
        raise BadInput(f"{name} halves {size} pixels {halvings} times; {needs}.")
    if spec.family == "LeNet" and side < 16:
        raise BadInput(f"LeNet's two 5x5 convolutions leave nothing of {size} pixels; it needs at least 16 pixels.")
    # a map of one pixel less its mean is 0, whatever the image was
    if spec.family in _RESIDUAL and spec.norm == "IN" and _last_side(spec, size) < 2:
        batch = canonical(canonical(name).replace(spec.family, f"{spec.family}BN"))
        erased = f"{name} ends in single pixels at {size} pixels, which instance norm erases"
        raise BadInput(f"{erased}; use {batch} or larger images.")
    return spec


def embeds(name: str) -> bool:
    """Whether the network has features before its classifier that methods may match, unlike AlexCifarNet, LeNet and MLP."""
    return parse(name).family not in _FEATURELESS


def any_size(name: str) -> bool:
    """Whether the number of features is the same at every image size, since the last maps are averaged.

    Self-supervised training with small local views, beside large ones, needs it.
    """
    spec = parse(name)
    return spec.family == "MobileNetV2" or (spec.family in _RESIDUAL and not spec.pooling)


def first_padding(usual: int, channels: int, size: int) -> int:
    """The padding of the first convolution, in pixels at each edge: 2 more for MNIST, which makes it 32 pixels wide.

    This is the rule of DC's networks, restricted to images of one channel and 28 pixels.

    Args:
        usual: padding for all other images.
        channels: channels of the images.
        size: pixels of a side of the images.
    """
    return usual + 2 if (channels, size) == (1, 28) else usual


def _tokens(name: str, family: str) -> dict[str, str]:
    """The tokens of a name by kind: ``depth``, ``widths`` and those of ``_CHOICES``, but not those that it leaves out.

    Raises:
        BadInput: the rest of the name is not made of the family's tokens, or has a kind twice.
    """
    kinds = {token: kind for kind, tokens in _CHOICES[family].items() for token in tokens if token}
    # longest first, so that _He0 is not read as _He and a rest, nor ASwish as AS
    patterns = sorted(kinds, key=len, reverse=True)
    if family == "ConvNet":
        patterns += [r"D[1-9]\d?(?!\d)", r"W[1-9]\d{0,4}(?:-[1-9]\d{0,4})*(?![\d-])"]
    if family in _RESIDUAL:
        patterns += [r"W[1-9]\d{0,3}(?![\d-])"]
    pattern, rest = "|".join(patterns), name.removeprefix(family)
    if not re.fullmatch(f"(?:{pattern})*", rest):
        raise _unknown(name)
    parts = {}
    for token in re.findall(pattern, rest):
        kind = kinds.get(token) or {"D": "depth", "W": "widths"}[token[0]]
        if kind in parts:
            raise BadInput(f"{name} says its {kind} twice ({parts[kind]} and {token}); once is enough.")
        parts[kind] = token
    return parts


def _widths(name: str, family: str, depth: str | None, widths: str | None) -> tuple[int, ...]:
    """The channels of each ConvNet block or ResNet stage, from the tokens ``D...`` and ``W...``; else none.

    Raises:
        BadInput: the tokens imply different numbers of blocks.
    """
    if family in _RESIDUAL:
        return tuple((int(widths[1:]) if widths else _STEM) * 2**stage for stage in range(4))
    if family != "ConvNet":
        return ()
    listed = tuple(int(width) for width in widths[1:].split("-")) if widths else (_WIDTH,)
    if len(listed) == 1:
        return listed * (int(depth[1:]) if depth else _BLOCKS)
    if depth and int(depth[1:]) != len(listed):
        raise BadInput(f"{name} lists {len(listed)} widths but says {depth}; the widths alone set the depth.")
    return listed


def _width_tokens(spec: Spec) -> str:
    """The canonical tokens ``D...`` and ``W...`` of a Spec, without defaults; unequal widths stand without a depth."""
    widths = spec.widths
    if not widths:
        return ""
    if spec.family in _RESIDUAL:
        return f"W{widths[0]}" if widths[0] != _STEM else ""
    if len(set(widths)) > 1:
        return "W" + "-".join(map(str, widths))
    depth = f"D{len(widths)}" if len(widths) != _BLOCKS else ""
    return depth + (f"W{widths[0]}" if widths[0] != _WIDTH else "")


def _pads(spec: Spec) -> bool:
    """Whether the family pads its first convolution by ``first_padding``."""
    return spec.family in ("ConvNet", "AlexNet", "VGG11", "LeNet")


def _halvings(spec: Spec) -> int:
    """The number of poolings that halve the image, rounding down."""
    if spec.family == "ConvNet":
        return 0 if spec.pooling == "NP" else len(spec.widths)
    if spec.family in _RESIDUAL:
        return 3 if spec.pooling == "_AP" else 0
    return {"AlexNet": 3, "VGG11": 5}.get(spec.family, 0)


def _last_side(spec: Spec, size: int) -> int:
    """The pixels of a side in a residual network's last stage."""
    # a stem padded by 2 adds two pixels; the large one halves the side twice, rounding up; the usual one keeps it
    side = size + 2 if spec.stem else -(-size // 4) if size >= LARGE else size
    for _ in range(3):
        side = side // 2 if spec.pooling else -(-side // 2)  # pooling rounds down, a stride of 2 rounds up
    return side


def _unknown(name: str) -> BadInput:
    """Returns the error of a name that is not of the grammar, with up to three similar usual names."""
    usual = {spelling.lower(): spelling for spelling in _USUAL.split()}
    close = [usual[match] for match in difflib.get_close_matches(name.lower(), usual, n=3)]
    hint = f"; did you mean {' or '.join(close)}?" if close else "."
    return BadInput(f"'{name}' names no network: write {GRAMMAR}{hint}")
