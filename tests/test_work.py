"""Checkpoints, locks, finished results, leases and worker processes."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distillation.runtime import device, tensors
from distillation.runtime.files import atomic_output
from distillation.runtime.random import generator, seeded
from distillation.runtime.tasks import map_tasks
from distillation.runtime.work import Task, _pack, _unpack, discard, locked_tasks

MADE = {"device": "cpu", "torch": torch.__version__}


@pytest.fixture(autouse=True)
def own_root(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))


def task_of(identity=0, **inputs):
    return Task.of("try it", inputs, identity, MADE, every=0)


LEAVES = st.integers() | st.floats(allow_nan=False) | st.text() | st.booleans() | st.none()
STATES = st.recursive(
    LEAVES | st.lists(st.floats(width=32, allow_nan=False), max_size=3).map(torch.tensor),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(STATES)
def test_any_state_comes_back_bit_for_bit(state):
    def same(a, b):
        if isinstance(a, torch.Tensor):
            return torch.equal(a, b) and a.dtype == b.dtype
        if isinstance(a, dict):
            return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
        if isinstance(a, list):
            return len(a) == len(b) and all(map(same, a, b))
        return type(a) is type(b) and a == b

    content = {}
    packed = _pack(state, content)
    assert same(_unpack(packed, content), state)


def test_a_checkpoint_is_found_by_the_next_run_and_gone_after_the_result():
    with locked_tasks([task_of()]) as (task,):
        assert task.start() is None
        task.checkpoint({"at": 3, "images": torch.arange(4.0)})
    with locked_tasks([task_of()]) as (task,):
        state = task.start()
        assert state["at"] == 3 and torch.equal(state["images"], torch.arange(4.0))
        with task.result() as folder:
            (folder / "out.txt").write_text("done")
    with locked_tasks([task_of()]) as missing:
        assert missing == []
    assert (task_of().finished() / "out.txt").read_text() == "done"
    assert not (task.folder / "state.safetensors").exists()


def test_other_inputs_are_another_task():
    assert task_of(alpha=1).folder != task_of(alpha=2).folder
    assert task_of(0).folder != task_of(1).folder


def test_a_result_that_fails_is_no_result():
    with locked_tasks([task_of()]) as (task,):
        task.start()
        with pytest.raises(RuntimeError), task.result():
            raise RuntimeError
    assert task.finished() is None


@pytest.mark.parametrize("keep", [0, 7, 40])
def test_a_broken_checkpoint_starts_afresh_with_a_sentence(keep, capfd):
    with locked_tasks([task_of()]) as (task,):
        task.start()
        task.checkpoint({"at": 3})
        state = task.folder / "state.safetensors"
        state.write_bytes(state.read_bytes()[:keep])
        assert task.start() is None
    assert "does not read, starting afresh" in capfd.readouterr().err


def test_work_of_another_device_or_torch_is_set_aside_with_a_sentence(capfd):
    with locked_tasks([task_of()]) as (task,):
        task.start()
        with task.result():
            pass
    other = Task.of("try it", {}, 0, {**MADE, "device": "another"})
    with locked_tasks([other]) as missing:
        assert missing == [other] and other.start() is None
    assert "starting afresh" in capfd.readouterr().err
    assert task_of().finished()


def test_discarding_leaves_nothing_that_passes_for_a_result():
    with locked_tasks([task_of()]) as (task,):
        task.start()
        with task.result():
            pass
    discard(task.folder)
    assert task_of().finished() is None and not task.folder.exists()


def test_checkpoints_are_rare_when_they_are_slow():
    with locked_tasks([task_of()]) as (task,):
        task.start()
        assert task.due()
        task.checkpoint({"at": 1})
        task._cost = 10.0
        assert not task.due()


def _compute_once(counter):
    with locked_tasks([task_of()]) as missing:
        for task in missing:
            task.start()
            with open(counter, "a") as file:
                file.write("x")
            time.sleep(0.3)
            with task.result():
                pass


def test_concurrent_runs_of_one_key_compute_it_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    runs = [context.Process(target=_compute_once, args=(tmp_path / "counter",)) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert (tmp_path / "counter").read_text() == "x"


def test_an_out_that_fails_leaves_nothing_and_keeps_the_old(tmp_path):
    with atomic_output(tmp_path / "out") as folder:
        (folder / "a").write_text("old")
    with pytest.raises(OSError), atomic_output(tmp_path / "out") as folder:
        (folder / "a").write_text("half")
        raise OSError(28, "No space left on device")
    assert [p.name for p in tmp_path.iterdir() if p.is_dir() and p.name != ".dvc"] == ["out"]
    assert (tmp_path / "out" / "a").read_text() == "old"


def test_tensor_files_are_the_same_bytes_every_time(tmp_path):
    content = {name: torch.randn(3, generator=generator(0, name)) for name in "cab"}
    for name, order in (("a", "abc"), ("b", "cba")):
        tensors.save(tmp_path / name, {k: content[k] for k in order}, {"x": 1, "y": [2, "z"], "w": None})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_full_disk_leaves_no_partial_file():
    """On a file system of 64 kB: the file that does not fit is not there, the one before it still is."""
    mount = "mount -t tmpfs -o size=64k tmpfs"
    script = (
        "import sys, torch; sys.path.insert(0, '.'); from distillation.runtime import tensors\n"
        "from distillation.runtime.errors import guarded; from pathlib import Path\n"
        "folder = Path(sys.argv[1]); tensors.save(folder / 'a', {'x': torch.zeros(10)}, {})\n"
        "status = guarded(tensors.save, folder / 'a', {'x': torch.zeros(10**5)}, {})\n"
        "assert tensors.load(folder / 'a')[0]['x'].numel() == 10, 'the old file is gone'\n"
        "assert [p.name for p in folder.iterdir()] == ['a'], list(folder.iterdir())\n"
        "sys.exit(status)"
    )
    probe = ["unshare", "-m", "sh", "-c", f"{mount} /mnt"]
    if subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    command = ["unshare", "-m", "sh", "-c", f'{mount} /mnt && exec "$0" -c "$1" /mnt', sys.executable, script]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1 and "No space left" in done.stderr


@pytest.fixture
def locks(tmp_path, monkeypatch):
    """The folder of a machine's locks: a real one would make tests wait for each other and for whoever computes."""
    monkeypatch.setattr(device.tempfile, "tempdir", str(tmp_path))
    return tmp_path / "dataset-distillation-gpus"


def test_leases_are_exclusive_and_released(locks):
    with device.lease_device("auto", count=2) as first, device.lease_device("auto", count=2) as second:
        assert {first.index, second.index} == {0, 1}
    with device.lease_device("cuda:1", count=2) as again:
        assert again.index == 1
    with device.lease_device("auto", count=0) as cpu:
        assert cpu.type == "cpu"


def test_a_lease_is_of_the_card_and_not_of_its_number_or_the_clone(locks, monkeypatch, tmp_path):
    def seeing(*cards):
        properties = [SimpleNamespace(uuid=card) for card in cards]
        monkeypatch.setattr(device.torch.cuda, "get_device_properties", lambda index: properties[index])

    seeing("card-a", "card-b")
    with device.lease_device("cuda:1", count=2):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("DVC_ROOT", str(tmp_path))
        seeing("card-b", "card-a")
        with device.lease_device("auto", count=2) as other:
            assert other.index == 1, "its first is the other's second"
    assert sorted(path.name for path in locks.iterdir()) == ["card-a.lock", "card-b.lock"]


def test_other_users_can_lock_the_same_files(locks):
    before = os.umask(0o077)
    try:
        with device.lease_device("cuda:0", count=1):
            assert locks.stat().st_mode & 0o7777 == 0o1777
            assert (locks / "0.lock").stat().st_mode & 0o777 == 0o666
        assert os.umask(0o077) == 0o077, "as it was"
    finally:
        os.umask(before)


@pytest.mark.parametrize("choice", ["cuda", "cuda:2"])
def test_a_gpu_that_is_not_there_is_one_sentence(choice):
    with pytest.raises(device.BadInput, match="shows 0 GPUs"), device.lease_device(choice, count=0):
        pass


def _sum_of_draws(index):
    return float(torch.randn(1000, 64, generator=generator(0, "tasks", index)).mm(torch.ones(64, 64)).sum())


def test_the_answer_does_not_depend_on_the_number_of_workers():
    alone = list(map_tasks(_sum_of_draws, range(5), 1, 1))
    assert list(map_tasks(_sum_of_draws, range(5), 3, 1)) == alone
    assert len(set(alone)) == 5


def test_workers_die_with_their_parent(tmp_path):
    script = (
        "import os, sys, time; sys.path.insert(0, '.')\n"
        "from distillation.runtime.tasks import map_tasks\n"
        "from tests.test_work import _sleep\n"
        "if __name__ == '__main__': list(map_tasks(_sleep, [sys.argv[1] + '/a', sys.argv[1] + '/b'], 2, 1))\n"
    )
    (tmp_path / "run.py").write_text(script)
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "run.py"), str(tmp_path)], env={**os.environ, "PYTHONPATH": "."}
    )
    deadline = time.time() + 60
    while time.time() < deadline and not ((tmp_path / "a").exists() and (tmp_path / "b").exists()):
        time.sleep(0.1)
    workers = [int((tmp_path / name).read_text()) for name in "ab"]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while time.time() < deadline and any(os.path.exists(f"/proc/{pid}") for pid in workers):
        time.sleep(0.1)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in workers)


def _sleep(path):
    with open(f"{path}.new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(f"{path}.new", path)
    time.sleep(120)


def test_generators_are_named_and_the_global_one_is_left_alone():
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    draws = [torch.rand(3, generator=generator(0, name, i)).tolist() for name in ("a", "b") for i in (0, 1)]
    with seeded(generator(0, "third party")):
        inside = torch.rand(3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert len({tuple(d) for d in draws}) == 4
    with seeded(generator(0, "third party")):
        assert torch.equal(torch.rand(3), inside)
