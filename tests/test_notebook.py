"""The API that a notebook uses: docs/notebook.md as written, in a folder that is no repository, and the stages' numbers."""

import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from distillation import DistilledSet, distill, evaluate, load_dataset, load_params
from distillation.runtime.errors import BadInput
from tests.helpers.clones import ROOT, SMALL


def test_the_page_runs_as_written_where_there_is_no_repository(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/notebook.md").read_text(), re.S)
    assert len(blocks) == 3
    checks = "\nassert rows['accuracy'].mean() > 40 and len(losses) == 200 and figure.axes\n"
    script = "\n".join(blocks)
    (tmp_path / "page.py").write_text(script + checks)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    env = {name: value for name, value in env.items() if not name.startswith("DVC")}
    subprocess.run([sys.executable, "page.py"], cwd=tmp_path, env=env, check=True)
    assert {path.name for path in tmp_path.iterdir()} == {"page.py", "teachers"}


def test_the_numbers_are_those_of_the_stages(tmp_path):
    """The same parameters: what distill and evaluate give is what the work of the stages leaves."""
    from distillation.data.real import FILE
    from distillation.methods import work
    from distillation.methods.base import Common
    from distillation.runtime.work import Task

    params = load_params(SMALL)
    data = load_dataset(params, tmp_path / "raw")
    distilled = distill(params, data)
    data.save(tmp_path / "data")
    assert (tmp_path / "data" / FILE).is_file()
    common, module = params.fields("method", Common), __import__("distillation.methods.dm", fromlist=["Settings"])
    settings = params.section("method.dm", module.Settings)
    job = work.Job(
        data=tmp_path / "data", teachers=None, guides=None, read=(), shard=0, common=common, settings=settings
    )
    task = Task("distill dm", tmp_path / "task", {})
    work.distill(job, task, "cpu")
    staged = DistilledSet.load(task.finished() / "distilled.safetensors")
    assert torch.equal(staged.images, distilled.images) and staged.info == {
        **distilled.info,
        "space": distilled.space.kind,
    }
    assert evaluate(params, distilled, data).equals(evaluate(params, staged, data))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"method.name": "apm", "method.ipc": 2}, "apm reads a pool of teachers"),
        ({"method.alpha": 1.0}, "method.alpha is above 0, or the method asks guides"),
        ({"method.name": "apm", "method.ipc": 2, "method.apm.shards": 2}, "apm makes its set in several shards"),
    ],
)
def test_what_is_missing_is_one_sentence(tmp_path, changes, sentence):
    params = load_params({**SMALL, **changes})
    with pytest.raises(BadInput, match=sentence):
        distill(params, load_dataset(params, tmp_path))


def test_labels_beside_a_set_belong_to_the_stages(tmp_path):
    params = load_params({**SMALL, "method.name": "random"})
    data = load_dataset(params, tmp_path)
    distilled = distill(params, data)
    with pytest.raises(BadInput, match="labels of kind online are a file beside the set"):
        evaluate(params, replace(distilled, info={**distilled.info, "labels": "online"}), data)


def test_bad_changes_are_refused():
    with pytest.raises(BadInput, match=r"method\.ipc is 0"):
        load_params({"method.ipc": 0})
