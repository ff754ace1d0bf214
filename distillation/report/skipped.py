"""Faulty files that the datasets behind the results were read without."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from distillation.data.faults import NAMED, counted

if TYPE_CHECKING:
    from distillation.report.reading import Artefacts


def sections(artefacts: "Artefacts") -> list[dict[str, Any]]:
    """Lists the files that were skipped, dataset by dataset.

    Returns:
        For each dataset of which files were skipped ``title`` and ``rows`` of (file, fault). Datasets with the same
        faults are listed once: they are one dataset in several places.
    """
    found = []
    for name, info in _records(artefacts):
        faults = info.get("skipped")
        if faults and faults not in [other for _, other in found]:
            found.append((name, faults))
    return [{"title": f"{name}: {counted(faults)}", "rows": _rows(faults)} for name, faults in found]


def _records(artefacts: "Artefacts") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the name of each dataset, and a record that tells what was skipped of it."""
    yield f"dataset {artefacts.distilled['dataset']}", artefacts.whole.info
    for name, pool in artefacts.pools.items():
        yield f"{pool.info['dataset']}, source of the pool {name}", pool.info
    for name, measured in (*artefacts.transfers.items(), *artefacts.kd.items()):
        yield f"target {name}", measured.info


def _rows(faults: dict[str, str]) -> list[tuple[str, str]]:
    """The first faults by file, and how many more there are."""
    first = list(faults.items())[:NAMED]
    return [*first, *([("and more", f"{len(faults) - NAMED:,} files")] if len(faults) > NAMED else [])]
