"""params.yaml as DVC sees it: by the parser that DVC has, set up as DVC sets it up."""

import math
import re

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from ruamel.yaml import YAML, YAMLError

from distillation.runtime.errors import BadInput


def parse(text: str) -> object:
    """The value of a YAML 1.2 text. Raises BadInput where it is no YAML, or gives a key twice."""
    try:
        return YAML(typ="safe").load(text)  # not by dvc.utils.serialize: its import takes three times as long
    except YAMLError as error:
        error.note = None  # advice on how to switch a check off
        raise BadInput(f"params.yaml is not valid YAML: {' '.join(str(error).split())}.") from error


class Section(BaseModel):
    """A section of params.yaml: strict types, and no key that is not declared."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Params:
    """The parameter file; remembers which keys were read, so that a test can compare them with dvc.yaml."""

    def __init__(self, values):
        self.values = values
        self.reads = set()

    def value(self, path):
        """The value at a dotted path. Raises BadInput where there is none."""
        self.reads.add(path)
        at = self.values
        for i, key in enumerate(parts := path.split(".")):
            if not isinstance(at, dict) or key not in at:
                where = ".".join(parts[:i]) or "params.yaml"
                known = f"; it has {', '.join(map(str, at))}" if isinstance(at, dict) and at else ""
                raise BadInput(f"params.yaml lacks '{path}': there is no '{key}' in {where}{known}.")
            at = at[key]
        return at

    def section(self, path, schema):
        """The section at a dotted path as a validated ``schema``. Raises BadInput naming the key and what would be right."""
        return validate(schema, self.value(path), path)

    def fields(self, path, schema):
        """Like ``section``, of the schema's own fields only: a stage reads no more than it tracks."""
        return validate(schema, {name: self.value(f"{path}.{name}") for name in _aliases(schema)}, path)


def _aliases(schema):
    return [field.alias or name for name, field in schema.model_fields.items()]


def load(path="params.yaml"):
    """The Params of a file. Raises BadInput where it is missing or no mapping."""
    try:
        with open(path, encoding="utf-8") as file:
            values = parse(file.read())
    except FileNotFoundError as error:
        raise BadInput(f"{path} is missing: run from the repository's root.") from error
    if not isinstance(values, dict):
        raise BadInput(f"{path} must be a mapping of sections.")
    return Params(values)


def validate(schema, values, path):
    """``values`` as ``schema``; the first fault as one BadInput sentence."""
    if not isinstance(values, dict):
        raise BadInput(f"{path} must be a section with {', '.join(_aliases(schema))}, not {values!r}.")
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise BadInput(_sentence(error.errors(), schema, path)) from error


def _sentence(faults, schema, path):
    fault = faults[0]
    where = ".".join([path, *(str(part) for part in fault["loc"] if not _is_union_tag(part))])
    if fault["type"] == "extra_forbidden":
        known = ", ".join(_aliases(_schema_at(schema, fault["loc"][:-1])))
        return f"{where} is not a setting; {where.rsplit('.', 1)[0]} has {known}."
    if fault["type"] == "missing":
        return f"{where} is missing."
    same = [f["msg"] for f in faults if f["loc"][:1] == fault["loc"][:1]]
    wanted = " or ".join(dict.fromkeys(m.removeprefix("Value error, ").removeprefix("Input ") for m in same))
    shown = "" if isinstance(fault["input"], (dict, BaseModel)) else f"is {_show(fault['input'])}, but "
    return f"{where} {shown}{wanted}."


def _is_union_tag(part):
    """Pydantic names the branch of a union in the location of a fault; a person should not see it."""
    if not isinstance(part, str):
        return False
    return part in ("float", "int", "bool", "str") or part.startswith(("constrained-", "literal[", "dict[", "list["))


def _schema_at(schema, location):
    for part in location:
        field = next((f for n, f in schema.model_fields.items() if part in (n, f.alias)), None)
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            break
        schema = field.annotation
    return schema


def _show(value):
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return repr(value)


class Compute(Section):
    """Where and how stages run. Only ``threads`` changes bits and is tracked by DVC."""

    device: str
    workers: int = Field(ge=1)
    threads: int = Field(ge=1)
    checkpoint: float = Field(ge=0)

    @field_validator("device")
    @classmethod
    def _known(cls, value):
        if not re.fullmatch(r"auto|cpu|cuda|cuda:\d+", value):
            raise ValueError("should be auto, cpu, cuda or cuda:N")
        return value
