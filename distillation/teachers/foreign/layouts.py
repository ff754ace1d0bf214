"""ResNet state dicts of self-supervised projects, with tensor names translated from theirs to this project's.

=============  ========================================================================================
layout         names
=============  ========================================================================================
``moco``       ``encoder_q.conv1...`` beside ``encoder_k`` and ``queue`` (MoCo v1, v2)
``moco_demo``  ``encoder_q.net.0...``, places in a sequence (its CIFAR-10 demo)
``moco_v3``    ``base_encoder.conv1...`` beside ``momentum_encoder`` and ``predictor``
``backbone``   ``backbone.conv1...`` beside a head (DINO, Barlow Twins, solo-learn)
``plain``      ``conv1...``: with ``fc`` if it classifies (torchvision, linear evaluations), alone (DINO's and
               Barlow Twins' backbones), or beside ``projection_head`` and ``prototypes`` (SwAV)
=============  ========================================================================================

``module.``, which parallel training adds, may precede any of them.
"""

import re
from collections.abc import Mapping

from torch import Tensor

_PREFIXES = {"moco": "encoder_q.", "moco_v3": "base_encoder.", "backbone": "backbone.", "plain": ""}
_DEMO = {"0": "conv1", "1": "bn1", "3": "layer1", "4": "layer2", "5": "layer3", "6": "layer4"}
_OWN = ("conv1.", "bn1.", "layer")
_CLASSIFIER = ("fc.weight", "fc.bias")
_MODULES = {"conv1": "body.0", "bn1": "body.1", "fc": "classifier"}
_BLOCK = re.compile(r"layer([1-4])\.(\d{1,4})\.(conv|bn|downsample\.)(\d)\.(\w+)")


def renamed(state: Mapping[str, Tensor]) -> tuple[str | None, dict[str, Tensor]]:
    """Translates the state dict of a ResNet to this project's tensor names.

    Args:
        state: tensors by name, as ``weights.read`` returns them.

    Returns:
        The layout, a name of the table above, and the tensors by this project's names: those of the network, with the
        classifier if there is one, without projection heads and momentum encoders. For an unknown layout None, and the
        tensors by their own names without ``module.``; these may be this project's already.
    """
    state = {name.removeprefix("module."): value for name, value in state.items()}
    unwrapped = _unwrapped(state)
    if unwrapped is None:
        return None, state
    layout, weights = unwrapped
    places = _places(weights)
    return layout, {_ours(name, places): value for name, value in weights.items()}


def _unwrapped(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]] | None:
    """Returns the layout, and the tensors of the network alone by torchvision's names; None for an unknown layout."""
    if "encoder_q.net.0.weight" in state:
        names = [name.split(".", 3) for name in state if name.startswith("encoder_q.net.")]
        return "moco_demo", {f"{_DEMO[n[2]]}.{n[3]}": state[".".join(n)] for n in names if n[2] in _DEMO}
    for layout, prefix in _PREFIXES.items():
        if f"{prefix}conv1.weight" in state:
            own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
            kept = (*_OWN, *_CLASSIFIER) if layout == "plain" else _OWN
            return layout, {name: value for name, value in own.items() if name.startswith(kept)}
    return None


def _places(weights: Mapping[str, Tensor]) -> dict[tuple[int, int], int]:
    """Maps each (stage, block) to its index in the network's ``body``, where the blocks follow the stem."""
    blocks = {(int(match[1]), int(match[2])) for name in weights if (match := _BLOCK.fullmatch(name))}
    # The stem is convolution, norm and ReLU; with a convolution of 7 x 7 also a pooling.
    first = 4 if weights["conv1.weight"].shape[2:3] == (7,) else 3
    return {block: first + i for i, block in enumerate(sorted(blocks))}


def _ours(name: str, places: Mapping[tuple[int, int], int]) -> str:
    if match := _BLOCK.fullmatch(name):
        stage, block, kind, place, rest = match.groups()
        step = 3 * int(place) - (3 if kind == "conv" else 2)  # convolution, norm and ReLU follow each other
        part = f"shortcut.{place}" if kind == "downsample." else f"branch.{step}"
        return f"body.{places[int(stage), int(block)]}.{part}.{rest}"
    module, _, rest = name.partition(".")
    return f"{_MODULES.get(module, module)}.{rest}"
