"""Writing of a pool's folder: all weights in one file, their record, curves and batch norm statistics."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from distillation.data.real import RealSet
from distillation.data.spaces import PREFIX
from distillation.runtime import files, tensors
from distillation.runtime.work import Task
from distillation.teachers.norms import statistics
from distillation.teachers.objective import RESULT
from distillation.teachers.pool import FILE, RECORD
from distillation.teachers.settings import PoolSettings


def write(out: Path, pool: str, settings: PoolSettings, data: RealSet, tasks: Sequence[Task]) -> None:
    """Writes the finished teachers of a pool into one folder, the out of the stage ``teacher``.

    ===========================  ==========================================================================
    file                         content
    ===========================  ==========================================================================
    ``teachers.safetensors``     weights, named ``<network>/<index>/<kept>/<name in its state dict>``, with
                                 the record as metadata; ``pool.Pool`` reads it
    ``pool.json``                the record alone, to be read without the weights
    ``curves.csv``               network, index, epoch, loss, train_accuracy (percent, empty without labels)
    ``norms.csv``                running statistics (see ``norms``), if there is any batch norm
    ``metrics.json``             mean test and k-NN accuracy in percent, if all teachers have one
    ===========================  ==========================================================================

    Args:
        out: an existing folder.
        pool: the pool's name in params.yaml.
        settings: its settings.
        data: the dataset that the teachers were trained on.
        tasks: one finished Task for each teacher, in the order of the pool; all have inputs of the same shape and
            space, and the same classes.
    """
    import pandas as pd  # slow to import, and no worker process needs it

    weights: dict[str, Tensor] = {}
    records, shared = [], {}
    for task in tasks:
        content, record = tensors.load(task.done / RESULT)
        for name, value in content.items():
            # The tensors of the space belong to all teachers and keep their names.
            weights[name if name.startswith(PREFIX) else f"{record['network']}/{record['index']}/{name}"] = value
        # Equal for all teachers, so that the last one's may stand for the pool.
        shared = {key: record.pop(key) for key in ("classes", "shape", "space")}
        records.append(record)
    columns = ["epoch", "loss", "train_accuracy"]
    curves = [
        pd.DataFrame(record.pop("curve"), columns=columns).assign(network=record["network"], index=record["index"])
        for record in records
    ]
    info = {
        "pool": pool,
        "dataset": data.info["name"],
        **data.skipped,
        **shared,
        "shape": [*shared["shape"], len(shared["classes"] or [])],
        "objective": settings.objective,
        "precision": settings.precision,
        "networks": records,
        "settings": settings.training.model_dump(by_alias=True),
    }
    tensors.save(out / FILE, weights, info)
    files.save_json(out / RECORD, info)
    curves = pd.concat(curves)[["network", "index", *columns]]
    curves.to_csv(out / "curves.csv", index=False, float_format="%.6g")
    if len(norms := statistics(weights)):
        norms.to_csv(out / "norms.csv", index=False, float_format="%.6g")
    accuracies = [kept["accuracy"] for record in records for kept in record["kept"]]
    knn = [record.get("knn") for record in records]
    files.save_json(out / "metrics.json", _means(accuracy=accuracies, knn=knn))


def _means(**lists: list[float | None]) -> dict[str, float]:
    """Returns the mean of each list of percents by its name, to two decimals; lists that hold a None are left out."""
    present = {name: [value for value in each if value is not None] for name, each in lists.items()}
    return {name: round(sum(each) / len(each), 2) for name, each in present.items() if len(each) == len(lists[name])}
