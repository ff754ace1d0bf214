"""The out of an assessment: a row for each set, measure and model."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from distillation.data.distilled import DistilledSet
from distillation.evaluation.assess.models import RECORD, Model
from distillation.evaluation.assess.pixels import statistics
from distillation.evaluation.assess.sets import classes_of
from distillation.evaluation.assess.settings import Measuring
from distillation.runtime import files
from distillation.runtime.work import Task


def write(
    out: Path,
    pool: str,
    settings: Measuring,
    sets: Mapping[str, DistilledSet],
    judges: Sequence[Model],
    tasks: Sequence[Task],
) -> None:
    """Writes the out of the stage assess.

    ``rows.csv`` has a row for each set, assessment and model; those of pixels have no model. ``metrics.json`` holds the
    mean of each assessment over the models, of the distilled set alone. ``info.json`` names pool and settings.

    Args:
        out: an empty folder.
        pool: name of the pool.
        settings: the section, for the record.
        sets: the assessed sets, by name.
        judges: the models.
        tasks: their finished tasks, in the same order.
    """
    import pandas as pd  # slow to import, and no worker process needs it

    rows = [
        {"set": name, "assessment": key, "model": "", "value": value}
        for name, images in sets.items()
        for key, value in statistics(images.space.decode(images.images), classes_of(images)).items()
    ]
    for judge, task in zip(judges, tasks, strict=True):
        folder = task.done
        rows += [{**row, "model": str(judge)} for row in files.load_json(folder / RECORD)]
    table = pd.DataFrame(rows, columns=pd.Index(["set", "assessment", "model", "value"]))
    table.to_csv(out / "rows.csv", index=False, float_format="%.6g")
    files.save_json(out / "info.json", {"pool": pool, "settings": settings.model_dump()})
    means = table.loc[table["set"] == "distilled"].groupby("assessment")["value"].mean().dropna()
    files.save_json(out / "metrics.json", {name: float(f"{value:.6g}") for name, value in means.items()})
