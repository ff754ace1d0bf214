"""The words that name networks: what they mean, how they are written, what images they can take. Imports no torch.

One word carries the whole choice, so that a parameter, a table and a file name can hold it. A word is a family
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
                    norm ``IN``, ``BN``; ``_AP``: stride 1 and average pooling where the others stride by 2;
                    ``_P2``: the 3x3 stem padded by 2 (KRR-ST) at any image size
``MobileNetV2``     none (batch norm, expansion 2)
``AlexCifarNet``    none
``LeNet``, ``MLP``  none
==================  ====================================================================================

``canonical`` writes a word in the order of this table without defaults: ``ConvNetBND4`` is ``ConvNetD4BN``.
"""

import difflib
import re
from dataclasses import dataclass

from distillation.runtime.errors import BadInput

_RESNET = {"norm": ("IN", "BN"), "pooling": ("", "_AP"), "stem": ("", "_P2")}
_CHOICES = {
    "ConvNet": {
        "activation": ("AR", "AS", "AL", "ASwish"),
        "norm": ("IN", "BN", "LN", "GN", "NN"),
        "pooling": ("AP", "MP", "NP"),
    },
    "AlexNet": {"norm": ("NN", "IN", "BN")},
    "VGG11": {"norm": ("IN", "BN")},
    "ResNet10": _RESNET,
    "ResNet18": _RESNET,
    "ResNet50": _RESNET,
    "MobileNetV2": {"norm": ("BN",)},
    "AlexCifarNet": {"norm": ("NN",)},
    "LeNet": {"norm": ("NN",)},
    "MLP": {"norm": ("NN",)},
}
_FEATURELESS = ("AlexCifarNet", "LeNet", "MLP")
_RESIDUAL = ("ResNet10", "ResNet18", "ResNet50")
LARGE = 128  # pixels from which residual networks begin with the 7x7 stem and its maximum pooling
_BLOCKS, _WIDTH, _STEM = 3, 128, 64
_USUAL = """
    ConvNet ConvNetBN ConvNetNN ConvNetLN ConvNetGN ConvNetD1 ConvNetD2 ConvNetD4 ConvNetD5 ConvNetW32 ConvNetW64
    ConvNetW256 ConvNetAS ConvNetAL ConvNetASwish ConvNetASwishBN ConvNetMP ConvNetNP ConvNetW128-256-512BN AlexNet
    AlexNetIN AlexNetBN VGG11 VGG11BN ResNet10 ResNet10BN ResNet10BN_P2 ResNet10W32BN ResNet18 ResNet18BN
    ResNet18_AP ResNet18BN_AP ResNet18BN_P2 ResNet50 ResNet50BN MobileNetV2 AlexCifarNet LeNet MLP
"""
GRAMMAR = (
    "ConvNet with D<blocks>, W<width> or W<width>-<width>-..., AR|AS|AL|ASwish, IN|BN|LN|GN|NN and AP|MP|NP "
    "(as ConvNetD4W64BN), AlexNet or AlexNetIN|BN, VGG11 or VGG11BN, ResNet10|18|50 with W<width>, BN, _AP and _P2, "
    "MobileNetV2, AlexCifarNet, LeNet or MLP"
)


@dataclass(frozen=True)
class Spec:
    """What a word says: ``widths`` are the channels of a ConvNet's blocks or a ResNet's stages, else empty; the other
    fields hold the table's tokens, or nothing.
    """

    family: str
    widths: tuple = ()
    activation: str = ""
    norm: str = ""
    pooling: str = ""
    stem: str = ""


def parse(word):
    """The Spec of a word. Raises BadInput with the grammar, and close names, where it is none."""
    family = next((name for name in _CHOICES if word.startswith(name)), None)
    if family is None:
        raise _unknown(word)
    chosen = _tokens(word, family)
    depth, widths = chosen.pop("depth", None), chosen.pop("widths", None)
    defaults = {kind: tokens[0] for kind, tokens in _CHOICES[family].items()}
    spec = Spec(family, _widths(word, family, depth, widths), **{**defaults, **chosen})
    if spec.norm == "GN" and any(width % 4 for width in spec.widths):
        raise BadInput(f"{word} cannot split its channels into 4 groups: GN needs widths that are multiples of 4.")
    return spec


def canonical(word):
    """The one spelling of the network that ``word`` names. Raises BadInput as ``parse``."""
    spec = parse(word)
    chosen = [(getattr(spec, kind), tokens[0]) for kind, tokens in _CHOICES[spec.family].items()]
    return "".join([spec.family, _written(spec), *(token for token, default in chosen if token != default)])


def check(word, channels, size):
    """The Spec of ``word`` if it can take ``channels`` x ``size`` x ``size`` images, else BadInput saying what it needs."""
    spec = parse(word)
    side = size + 2 * (first_padding(0, channels, size) if _pads(spec) else 0)
    halvings = _halvings(spec)
    if side < 2**halvings:
        fewer = " (or fewer blocks)" if spec.family == "ConvNet" else ""
        needs = f"it needs at least {2**halvings} pixels{fewer}"
        raise BadInput(f"{word} halves {size} pixels {halvings} times; {needs}.")
    if spec.family == "LeNet" and side < 16:
        raise BadInput(f"LeNet's two 5x5 convolutions leave nothing of {size} pixels; it needs at least 16 pixels.")
    if spec.family in _RESIDUAL and spec.norm == "IN" and _last_side(spec, size) < 2:
        batch = canonical(canonical(word).replace(spec.family, f"{spec.family}BN"))
        erased = f"{word} ends in single pixels at {size} pixels, which instance norm erases"
        raise BadInput(f"{erased}; use {batch} or larger images.")
    return spec


def embeds(word):
    """Whether the network has features before its classifier that methods may match (AlexCifarNet, LeNet and MLP have not)."""
    return parse(word).family not in _FEATURELESS


def any_size(word):
    """Whether the network has as many features at any image size, its last maps being averaged."""
    spec = parse(word)
    return spec.family == "MobileNetV2" or (spec.family in _RESIDUAL and not spec.pooling)


def first_padding(usual, channels, size):
    """Padding of the first convolution: 2 more for one channel of 28 pixels, which makes MNIST 32 pixels wide.

    That is the published rule (DC's networks) kept to the size that it was written for.
    """
    return usual + 2 if (channels, size) == (1, 28) else usual


def _tokens(word, family):
    """The tokens of ``word`` by kind."""
    kinds = {token: kind for kind, tokens in _CHOICES[family].items() for token in tokens if token}
    patterns = sorted(kinds, key=len, reverse=True)
    if family == "ConvNet":
        patterns += [r"D[1-9]\d?(?!\d)", r"W[1-9]\d{0,4}(?:-[1-9]\d{0,4})*(?![\d-])"]
    if family in _RESIDUAL:
        patterns += [r"W[1-9]\d{0,3}(?![\d-])"]
    pattern, rest = "|".join(patterns), word.removeprefix(family)
    if not re.fullmatch(f"(?:{pattern})*", rest):
        raise _unknown(word)
    chosen = {}
    for token in re.findall(pattern, rest):
        kind = kinds.get(token) or {"D": "depth", "W": "widths"}[token[0]]
        if kind in chosen:
            raise BadInput(f"{word} says its {kind} twice ({chosen[kind]} and {token}); once is enough.")
        chosen[kind] = token
    return chosen


def _widths(word, family, depth, widths):
    """Channels of each ConvNet block or ResNet stage from the tokens ``D...`` and ``W...``."""
    if family in _RESIDUAL:
        return tuple((int(widths[1:]) if widths else _STEM) * 2**stage for stage in range(4))
    if family != "ConvNet":
        return ()
    listed = tuple(int(width) for width in widths[1:].split("-")) if widths else (_WIDTH,)
    if len(listed) == 1:
        return listed * (int(depth[1:]) if depth else _BLOCKS)
    if depth and int(depth[1:]) != len(listed):
        raise BadInput(f"{word} lists {len(listed)} widths but says {depth}; the widths alone set the depth.")
    return listed


def _written(spec):
    widths = spec.widths
    if not widths:
        return ""
    if spec.family in _RESIDUAL:
        return f"W{widths[0]}" if widths[0] != _STEM else ""
    if len(set(widths)) > 1:
        return "W" + "-".join(map(str, widths))
    depth = f"D{len(widths)}" if len(widths) != _BLOCKS else ""
    return depth + (f"W{widths[0]}" if widths[0] != _WIDTH else "")


def _pads(spec):
    return spec.family in ("ConvNet", "AlexNet", "VGG11", "LeNet")


def _halvings(spec):
    """How often pooling halves the image, rounding down."""
    if spec.family == "ConvNet":
        return 0 if spec.pooling == "NP" else len(spec.widths)
    if spec.family in _RESIDUAL:
        return 3 if spec.pooling == "_AP" else 0
    return {"AlexNet": 3, "VGG11": 5}.get(spec.family, 0)


def _last_side(spec, size):
    """Pixels of a side in a residual network's last stage."""
    side = size + 2 if spec.stem else -(-size // 4) if size >= LARGE else size
    for _ in range(3):
        side = side // 2 if spec.pooling else -(-side // 2)
    return side


def _unknown(word):
    usual = {name.lower(): name for name in _USUAL.split()}
    close = [usual[name] for name in difflib.get_close_matches(word.lower(), usual, n=3)]
    hint = f"; did you mean {' or '.join(close)}?" if close else "."
    return BadInput(f"'{word}' names no network: write {GRAMMAR}{hint}")
