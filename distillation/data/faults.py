"""Faulty files of a dataset: they are collected, so that all are named at once, and refused or skipped together.

A file is faulty if it cannot be used: it cannot be read, does not decode as an image, or lies in the wrong place.
Readers raise Faulty for one and record it in the Findings of the dataset. When all files are read, ``Findings.settle``
refuses the dataset, or skips the faulty files, by the setting ``dataset.faulty``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from distillation.runtime.errors import BadInput

NAMED = 10  # house: files or classes that a sentence names


class Faulty(Exception):
    """One file that cannot be used; the message continues a sentence that begins with its name."""


@dataclass
class Findings:
    """What the reading of a dataset found beside its images.

    Attributes:
        skip: whether a dataset with faulty files is read without them (``dataset.faulty: skip``).
        faults: the fault of each faulty file, in words, by its name as ``shown`` writes it.
        folders: names of all folders, empty ones too: a class whose folder has no image is an error.
    """

    skip: bool = False
    faults: dict[str, str] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)

    def add(self, name: str, fault: Faulty) -> None:
        """Records a faulty file."""
        self.faults[printable(name)] = str(fault)

    def settle(self, where: object, cure: str = "mend or remove them, or set the dataset's `faulty` to skip") -> None:
        """Ends the reading of a dataset: faulty files are refused, unless they are to be skipped.

        Args:
            where: the path of the dataset, for the message.
            cure: an advice to the user, for the message.

        Raises:
            BadInput: there are faulty files, and ``skip`` is false; it names the first ten and their number.
        """
        if self.faults and not self.skip:
            raise BadInput(f"{where} has {counted(self.faults)}: {summary(self.faults)}: {cure}.")

    def ordered(self) -> dict[str, str]:
        """The faults in the order of names, whatever the order in which files were read."""
        return dict(sorted(self.faults.items()))


def add(findings: Findings | None, name: str, fault: Faulty, where: str = "") -> None:
    """Records a faulty file or, where nothing collects faults, refuses it.

    Args:
        findings: what collects the faults of the dataset; None if the first faulty file is to be refused.
        name: the file's name.
        fault: its fault.
        where: the beginning of the message, such as the archive's name with a colon.

    Raises:
        BadInput: there are no ``findings``.
    """
    if findings is None:
        raise BadInput(f"{where}{printable(name)} {fault}.") from fault
    findings.add(name, fault)


def counted(faults: Mapping[str, str]) -> str:
    """The number of faulty files in words."""
    return f"{len(faults):,} faulty file{'s' if len(faults) != 1 else ''}"


def summary(faults: Mapping[str, str]) -> str:
    """The first ten faults, sorted by name, and the number of others, as the middle of a sentence."""
    first = [f"{name} {faults[name]}" for name in sorted(faults)[:NAMED]]
    return "; ".join(first) + (f"; and {len(faults) - NAMED:,} more" if len(faults) > NAMED else "")


def printable(name: str) -> str:
    """A name in printable characters: others, and bytes that are not UTF-8, are written as escapes."""
    raw = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in raw)
