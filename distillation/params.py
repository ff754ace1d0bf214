"""params.yaml as DVC reads it: by the same parser (ruamel, YAML 1.2) with the same settings.

``load`` reads the file into a ``Params``. A stage then takes what it needs, validated against a ``Section``: the schema
of one section, which is defined beside the code that uses it. Whatever is wrong becomes a BadInput of one sentence.
"""

import datetime
import math
import re
import unicodedata
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent

from distillation.bounds import MOST_TOGETHER, WEEK, Count, Processes
from distillation.runtime.errors import BadInput

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

# bytes of a parameter file, and values and letters in it: ten times what the product's has, parsed in a second
LONGEST = 2**18
DEEPEST = 20  # sections in sections: three times the product's
# names that DVC leaves out of the keys of its run cache at any depth of a section (dvc.stage.cache): a stage would be given
# the out of another value
UNSEEN = frozenset({"size", "nfiles"})
Schema = TypeVar("Schema", bound=BaseModel)


def parse(text: str) -> object:
    """Parses a YAML 1.2 text.

    Returns:
        Nested dicts and lists of numbers, text, booleans, dates and None; of an empty text None.

    Raises:
        BadInput: the text is not valid YAML, repeats a key or is nested beyond ``DEEPEST``.
    """
    yaml = YAML(typ="safe")  # not by dvc.utils.serialize: its import takes three times as long
    try:
        _require_shallow(yaml, text)  # first: the parser would run out of Python's stack
        return yaml.load(text)
    except YAMLError as error:
        error.note = None  # pyright: ignore[reportAttributeAccessIssue]  # has one: advice on how to switch a check off
        raise BadInput(f"params.yaml is not valid YAML: {' '.join(str(error).split())}.") from error
    except BadInput:
        raise
    except Exception as error:  # the parser's own on what looks like a number, date or the like but is none
        raise BadInput(f"params.yaml is not valid YAML: {shown(str(error))}.") from error


def _require_shallow(yaml: YAML, text: str) -> None:
    """Raises BadInput for a text nested beyond ``DEEPEST``, which the parser would descend by recursion."""
    depth = 0
    for event in yaml.parse(text):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > DEEPEST:
            raise BadInput(f"params.yaml is nested more than {DEEPEST} deep in line {event.start_mark.line + 1}.")


def shown(value: object) -> str:
    """A value as it is spelt in a sentence: in one line, cut at 80 characters."""
    text = str(value) if isinstance(value, float) and not math.isfinite(value) else repr(value)
    return text if len(text) <= 80 else f"{text[:80]}... ({len(text):,} characters)"


class Section(BaseModel):
    """The base of all schemas of sections of params.yaml; its fields are the keys of the section.

    Types are strict: a text is no number, and an integer no text (an integer is accepted where a float is declared). A
    key that is not declared, NaN and infinity are refused. Objects are immutable. A field may not be named ``size`` or
    ``nfiles``, which the keys of DVC's run cache leave out.
    """

    # 4096: bytes of the longest path of Linux
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, str_max_length=4096)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: object) -> None:
        """Refuses a field with a name of ``UNSEEN``."""
        if unseen := sorted(set(_aliases(cls)) & UNSEEN):
            raise TypeError(f"{cls.__name__} has the field '{unseen[0]}', which the keys of DVC's run cache leave out.")


class Params:
    """The values of a parameter file, and a record of which of them were read.

    The record is for tests. DVC reruns a stage only for the parameters that dvc.yaml declares for it. A test compares
    those with ``reads``: a stage that read a parameter without declaring it would not rerun when that parameter
    changes.

    Made by ``load``; a test may give a mapping.

    Attributes:
        values: the file's nested dicts, not validated; access to them is not recorded.
        reads: set of the dotted paths that were read: by ``value`` and ``section`` the path itself, by ``fields`` one
            path for each field.

    Examples:
        >>> params = load("params.yaml")
        >>> params.value("method.ipc")
        1
        >>> params.section("compute", Compute).threads
        2
    """

    def __init__(self, values: dict) -> None:
        self.values = values
        self.reads = set()

    def value(self, path: str) -> Any:
        """Returns the value at a dotted path like ``method.ipc``, not validated: a number, text, list, dict or None.

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
        """Reads and validates the section at a dotted path; all its keys have to be fields of ``schema``.

        Raises:
            BadInput: the section is missing or invalid; the message names the key and a valid value.
        """
        return validate(schema, self.value(path), path)

    def fields(self, path: str, schema: type[Schema]) -> Schema:
        """Reads and validates only the keys of a section that ``schema`` declares; the section may have others.

        For a stage that depends on a part of a section, such as the common keys of ``method``: it should not rerun for
        the others.

        Raises:
            BadInput: as ``section``.
        """
        return validate(schema, {name: self.value(f"{path}.{name}") for name in _aliases(schema)}, path)


def _aliases(schema: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in schema.model_fields.items()]


def load(path: str | Path = "params.yaml") -> Params:
    """Loads a parameter file, without validating its sections.

    Raises:
        BadInput: the file is missing, too long, not UTF-8, not valid YAML, or not a mapping; or it holds values that no
            setting can have, such as control characters.
    """
    values = parse(_text(Path(path)))
    if not isinstance(values, dict):
        raise BadInput(f"{path} must be a mapping of sections.")
    _require_plain(values, path)
    return Params(values)


def _text(path: Path) -> str:
    """The text of a parameter file.

    Raises:
        BadInput: there is none, it is no regular file (whose reading could wait for ever), too long or not UTF-8.
    """
    if not path.exists():
        raise BadInput(f"{path} is missing: run from the repository's root.")
    if not path.is_file():
        raise BadInput(f"{path} is a folder, a pipe or a device: it must be a file of text.")
    if (length := path.stat().st_size) > LONGEST:
        raise BadInput(f"{path} has {length:,} bytes: it may have {LONGEST:,}.")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise BadInput(f"{path} is not UTF-8: its byte {error.start} is {byte:#04x}; save it as UTF-8.") from error


def _require_plain(values: dict, path: str | Path) -> None:
    """Raises BadInput unless a file's values, with all aliases followed, are few and plain: see ``_fault``."""
    # A YAML alias repeats a value without its text, so that a short file could hold billions of values. They are
    # counted as often as they occur, and the count ends at the bound. A stack instead of recursion needs no bound of
    # depth.
    total, rest = 0, [values]
    while rest:
        value = rest.pop()
        total += len(value) if isinstance(value, str) else 1
        if total > LONGEST:
            raise BadInput(f"{path} holds more than {LONGEST:,} values and letters, its aliases followed.")
        if fault := _fault(value):
            raise BadInput(f"{path} holds {fault}.")
        if isinstance(value, dict):
            rest += [*value, *value.values()]
        elif isinstance(value, list):
            rest += value


def _fault(value: object) -> str | None:
    """A phrase for a value that no setting can have and no sentence can show, or None for any other value."""
    if isinstance(value, int) and abs(value) >= 2**63:  # tensors and JSON readers of other languages take 64 bits
        return f"an integer of {value.bit_length()} bits: 63 are the most"
    if isinstance(value, str) and any(unicodedata.category(letter) in ("Cc", "Cs") for letter in value):
        return f"the text {shown(value)}: control characters and halves of characters are no part of a setting"
    if not isinstance(value, (dict, list, str, int, float, datetime.date, NoneType)):
        return f"{shown(value)}: a value is a number, a word, true or false, a list or a section"
    return None


def validate(schema: type[Schema], values: object, path: str) -> Schema:
    """Validates values against a schema.

    Also used for the records of containers (``data.valid``), hence any pydantic class.

    Args:
        schema: class of the section.
        values: content of the section; anything but a dict is refused.
        path: dotted path of the section, for the message.

    Returns:
        The object of ``schema``.

    Raises:
        BadInput: one sentence about the first invalid key.
    """
    if not isinstance(values, dict):
        raise BadInput(f"{path} must be a section with {', '.join(_aliases(schema))}, not {shown(values)}.")
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise BadInput(_sentence(error.errors(), schema, path)) from error


def _sentence(faults: "list[ErrorDetails]", schema: type[BaseModel], path: str) -> str:
    """The sentence about the first of pydantic's faults: the key, its value, and what would be right."""
    fault = faults[0]
    key = ".".join([path, *(str(part) for part in fault["loc"] if not _is_union_tag(part))])
    if fault["type"] == "extra_forbidden":
        options = ", ".join(_aliases(_schema_at(schema, fault["loc"][:-1])))
        return f"{key} is not a setting; {key.rsplit('.', 1)[0]} has {options}."
    if fault["type"] == "missing":
        return f"{key} is missing."
    # a union (``Count | None``) has a fault for each of its branches: all of them are what would be right
    same = [f["msg"] for f in faults if f["loc"][:1] == fault["loc"][:1]]
    expected = " or ".join(dict.fromkeys(m.removeprefix("Value error, ").removeprefix("Input ") for m in same))
    actual = "" if isinstance(fault["input"], (dict, BaseModel)) else f"is {shown(fault['input'])}, but "
    return f"{key} {actual}{expected}."


def _is_union_tag(part: int | str) -> bool:
    """Whether a part of a location names the branch of a union, which pydantic adds and users should not see."""
    if not isinstance(part, str):
        return False
    return part in ("float", "int", "bool", "str") or part.startswith(("constrained-", "literal[", "dict[", "list["))


def _schema_at(schema: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel]:
    """The schema of the section at a location that pydantic reports, or of the last section on the way there."""
    for part in location:
        field = next((f for n, f in schema.model_fields.items() if part in (n, f.alias)), None)
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            break
        schema = field.annotation
    return schema


class Images(Section):
    """The part of the section ``method`` that baselines read.

    Attributes:
        ipc: images of each class in the random and k-means sets, as many as in the distilled set.
    """

    ipc: Count


class Compute(Section):
    """The section ``compute``: where and how stages run.

    Only ``threads`` and ``group`` change results in their last bits, as they change the order of sums; of this section,
    DVC tracks these alone. (The model of the device changes bits too: it enters the keys of tasks, see ``device.Environment``.)

    Attributes:
        device: ``auto`` (a GPU if there is one, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``.
        locks: absolute path of the folder with the lock files of GPUs (``device.lease_device``), or ``auto``: a folder
            in the system's temporary one.
        workers: the most processes that a stage computes in, at least 1, or ``auto`` (``tasks.most``).
        threads: CPU threads of each process, at least 1.
        group: how many small networks of one name are trained at once (``training.group.group_size``): a number, 1: one
            after the other, or ``auto``.
        checkpoint: minimum seconds between two checkpoints of a task; 0: one after every unit of work that the cost of
            checkpoints permits (``Task.due``).
    """

    device: str
    locks: str
    workers: Literal["auto"] | Processes
    threads: Processes
    group: Annotated[int, Field(ge=1, le=MOST_TOGETHER)] | Literal["auto"]
    checkpoint: float = Field(ge=0, le=WEEK)

    @field_validator("device")
    @classmethod
    def _known(cls, value: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda|cuda:\d{1,3}", value):
            raise ValueError("should be auto, cpu, cuda or cuda:N")
        return value

    @field_validator("locks")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if value != "auto" and (not Path(value).is_absolute() or "\0" in value):
            raise ValueError("should be auto or an absolute path, as experiments run in folders of their own")
        return value
