"""The product's params.yaml with a few values changed."""

from typing import Any

from distillation import params
from tests.helpers.clones import ROOT


def product_params(changes: dict[str, Any] | None = None) -> params.Params:
    """The parameters of the product, without the guidance that suits its method alone; ``changes``: values by dotted path."""
    found = params.load(ROOT / "params.yaml")
    for path, value in {"method.alpha": 0.0, **(changes or {})}.items():
        *above, last = path.split(".")
        at = found.values
        for key in above:
            at = at[key]
        at[last] = value
    return found
