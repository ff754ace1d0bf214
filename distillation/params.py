"""params.yaml as DVC reads it: by the same parser with the same settings."""

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from ruamel.yaml import YAML, YAMLError

from distillation.runtime.errors import BadInput

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

# names that DVC leaves out of the keys of its run cache at any depth of a section (dvc.stage.cache): a stage would be given
# the out of another value
UNSEEN = frozenset({"size", "nfiles"})
Schema = TypeVar("Schema", bound=BaseModel)


def parse(text: str) -> object:
    """Parses a YAML 1.2 text.

    Raises:
        BadInput: the text is not valid YAML, or repeats a key.
    """
    try:
        return YAML(typ="safe").load(text)  # not by dvc.utils.serialize: its import takes three times as long
    except YAMLError as error:
        error.note = None  # pyright: ignore[reportAttributeAccessIssue]  # has one: advice on how to switch a check off
        raise BadInput(f"params.yaml is not valid YAML: {' '.join(str(error).split())}.") from error


class Section(BaseModel):
    """A section of params.yaml: strict types, no undeclared key, immutable, and no key that DVC's run cache overlooks."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: object) -> None:
        """Refuses a field with a name of ``UNSEEN``."""
        if unseen := sorted(set(_aliases(cls)) & UNSEEN):
            raise TypeError(f"{cls.__name__} has the field '{unseen[0]}', which the keys of DVC's run cache leave out.")


class Params:
    """The values of a parameter file, and which of them were read.

    DVC reruns a stage only for the parameters that dvc.yaml declares for it. A test compares those with ``reads``, because
    a stage that read another one would go stale unnoticed. Made by ``load``; a test may give a mapping.

    Attributes:
        values: the file's nested mappings, not validated; access to them is not recorded.
        reads: the dotted paths asked for by ``value``, ``section`` (its own path) and ``fields`` (one for each field).
    """

    def __init__(self, values: dict) -> None:
        self.values = values
        self.reads = set()

    def value(self, path: str) -> Any:
        """Reads the value at a dotted path.

        Raises:
            BadInput: the file has no such path.
        """
        self.reads.add(path)
        at = self.values
        for i, key in enumerate(parts := path.split(".")):
            if not isinstance(at, dict) or key not in at:
                section = ".".join(parts[:i]) or "params.yaml"
                options = f"; it has {', '.join(map(str, at))}" if isinstance(at, dict) and at else ""
                raise BadInput(f"params.yaml lacks '{path}': there is no '{key}' in {section}{options}.")
            at = at[key]
        return at

    def section(self, path: str, schema: type[Schema]) -> Schema:
        """Reads and validates the section at a dotted path.

        Raises:
            BadInput: the section is missing or invalid; the message names the key and a valid value.
        """
        return validate(schema, self.value(path), path)

    def fields(self, path: str, schema: type[Schema]) -> Schema:
        """Reads only the fields that ``schema`` declares, as ``section`` does: a stage reads no more than it tracks."""
        return validate(schema, {name: self.value(f"{path}.{name}") for name in _aliases(schema)}, path)


def _aliases(schema: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in schema.model_fields.items()]


def load(path: str | Path = "params.yaml") -> Params:
    """Loads a parameter file.

    Raises:
        BadInput: the file is missing, not valid YAML, or not a mapping.
    """
    try:
        with open(path, encoding="utf-8") as file:
            values = parse(file.read())
    except FileNotFoundError as error:
        raise BadInput(f"{path} is missing: run from the repository's root.") from error
    if not isinstance(values, dict):
        raise BadInput(f"{path} must be a mapping of sections.")
    return Params(values)


def validate(schema: type[Schema], values: object, path: str) -> Schema:
    """Validates a section.

    Args:
        schema: class of the section.
        values: content of the section.
        path: dotted path of the section, for the message.

    Raises:
        BadInput: one sentence about the first invalid key.
    """
    if not isinstance(values, dict):
        raise BadInput(f"{path} must be a section with {', '.join(_aliases(schema))}, not {values!r}.")
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise BadInput(_sentence(error.errors(), schema, path)) from error


def _sentence(faults: "list[ErrorDetails]", schema: type[BaseModel], path: str) -> str:
    fault = faults[0]
    key = ".".join([path, *(str(part) for part in fault["loc"] if not _is_union_tag(part))])
    if fault["type"] == "extra_forbidden":
        options = ", ".join(_aliases(_schema_at(schema, fault["loc"][:-1])))
        return f"{key} is not a setting; {key.rsplit('.', 1)[0]} has {options}."
    if fault["type"] == "missing":
        return f"{key} is missing."
    same = [f["msg"] for f in faults if f["loc"][:1] == fault["loc"][:1]]
    expected = " or ".join(dict.fromkeys(m.removeprefix("Value error, ").removeprefix("Input ") for m in same))
    actual = "" if isinstance(fault["input"], (dict, BaseModel)) else f"is {_show(fault['input'])}, but "
    return f"{key} {actual}{expected}."


def _is_union_tag(part: int | str) -> bool:
    """Whether a part of a location names the branch of a union, which pydantic adds and users should not see."""
    if not isinstance(part, str):
        return False
    return part in ("float", "int", "bool", "str") or part.startswith(("constrained-", "literal[", "dict[", "list["))


def _schema_at(schema: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel]:
    for part in location:
        field = next((f for n, f in schema.model_fields.items() if part in (n, f.alias)), None)
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            break
        schema = field.annotation
    return schema


def _show(value: object) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return repr(value)


class Compute(Section):
    """Where and how stages run; only ``threads`` changes bits, and DVC tracks it alone.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        workers: number of worker processes.
        threads: CPU threads of each process.
        checkpoint: minimum seconds between two checkpoints.
    """

    device: str
    workers: int = Field(ge=1)
    threads: int = Field(ge=1)
    checkpoint: float = Field(ge=0)

    @field_validator("device")
    @classmethod
    def _known(cls, value: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda|cuda:\d+", value):
            raise ValueError("should be auto, cpu, cuda or cuda:N")
        return value
