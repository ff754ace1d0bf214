"""Keys, checkpoints, locks, finished results, leases and worker processes."""

import contextlib
import functools
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distillation.params import Compute, Section, validate
from distillation.runtime import cost, device, stage, tasks, tensors
from distillation.runtime.errors import BadInput
from distillation.runtime.files import atomic_output
from distillation.runtime.keys import described, inputs_of, key_of
from distillation.runtime.locks import first_free, locked
from distillation.runtime.random import generator, seeded
from distillation.runtime.tasks import map_tasks
from distillation.runtime.work import Task, _pack, _unpack, discard, inputs_in, locked_tasks
from distillation.training.resume import complete

pytestmark = pytest.mark.usefixtures("own_root")

ENVIRONMENT = {"device": "cpu", "torch": torch.__version__}


def task_of(index=0, environment=ENVIRONMENT, **inputs):
    return Task.of("try it", {"index": index, **inputs, "environment": environment}, every=0)


# Keys


@dataclass(frozen=True, kw_only=True)
class Job:
    value: object = None
    start: Task | None = None


@dataclass(frozen=True, kw_only=True)
class Other:
    value: object = None
    start: Task | None = None


class Rate(Section):
    lr: float


class Decayed(Rate):
    decay: float


class Training(Section):
    rate: Rate


def key(value):
    return key_of(described(value))


def written(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_file_is_in_a_key_by_what_it_holds_and_not_by_its_name(tmp_path):
    one, same, other = (written(tmp_path / name, text) for name, text in (("a", "x"), ("b/c", "x"), ("d", "y")))
    assert key(Job(value=one)) == key(Job(value=same)) != key(Job(value=other))
    assert described(one)["path"] == one.as_posix(), "for people"


def test_a_folder_is_in_a_key_by_the_names_and_contents_of_its_files_but_for_hidden_ones(tmp_path):
    for folder, name, text in (("a", "x", "1"), ("b", "x", "1"), ("c", "y", "1"), ("d", "x", "2"), ("e", "z/x", "1")):
        written(tmp_path / folder / name, text)
    before = [key(tmp_path / folder) for folder in "abcde"]
    assert before[0] == before[1] and len(set(before)) == 4
    written(tmp_path / "a/.gitignore", "x")
    written(tmp_path / "b/z/.x.swp", "an editor's")
    assert [key(tmp_path / folder) for folder in "abcde"] == before
    written(tmp_path / "a/more", "")
    assert key(tmp_path / "a") != before[0]


def test_a_path_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(BadInput, match=r"/none is missing: run `dvc repro`"):
        described(Job(value=tmp_path / "none"))


def test_values_that_are_equal_but_not_the_same_are_told_apart():
    values = (1, 1.0, True, "1", None, "None", [1], [[1]], {"1": 1}, 0.0, -0.0)
    assert len({key(value) for value in values}) == len(values)
    assert key(Rate(lr=1)) == key(Rate(lr=1.0)), "a schema says which it is"


def test_jobs_of_another_kind_are_told_apart():
    assert key(Job(value=1)) != key(Other(value=1))


def test_a_section_that_is_held_as_its_base_class_keeps_its_own_fields():
    one, other = (Decayed(lr=1.0, decay=decay) for decay in (0.1, 0.2))
    assert key(Job(value=one)) != key(Job(value=other))
    assert key(Training(rate=one)) != key(Training(rate=other))


def _outer():
    return lambda: None


@pytest.mark.parametrize(
    "value",
    [
        {1},
        b"x",
        1j,
        object(),
        torch.zeros(1),
        torch.nn.ReLU(),
        functools.partial(key, 1),
        _outer(),
        Path("a").exists,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_key_cannot_hold_is_refused(value):
    for job in (value, [value], {"a": value}, Job(value=value)):
        with pytest.raises(TypeError, match="has no place in a key"):
            described(job)


def test_a_function_is_in_a_key_by_its_name_and_brings_its_modules_code():
    job = Job(value=Job(value=generator))
    assert described(job)["value"]["value"] == "distillation.runtime.random:generator"
    without, code = (inputs_of(atomic_output, each, Job())["code"] for each in (Job(), job))
    assert code.keys() - without.keys() == {"distillation/runtime/random.py"}


def test_modules_that_work_loads_by_name_are_in_its_key():
    alone = inputs_of(atomic_output, Job(), Job())
    more = inputs_of(atomic_output, Job(), Job(), ["distillation.methods.random"])
    assert "distillation/methods/random.py" in more["code"].keys() - alone["code"].keys()
    assert inputs_of(functools.partial(atomic_output, "out"), Job(), Job()) == alone


def test_a_task_that_has_to_finish_first_is_in_a_key_by_its_own():
    start, same = (Task.of(label, {"alpha": 1}, every) for label, every in (("a-b c", 1.0), ("d", 2.0)))
    assert described(start) == {"key": start.key} and start.folder != same.folder
    assert key(Job(start=start)) == key(Job(start=same))
    for other in ({"alpha": 2}, {"alpha": 1, "environment": ENVIRONMENT}):
        assert key(Job(start=Task.of("a", other))) != key(Job(start=start))


def test_the_tasks_of_a_stage_are_those_of_its_jobs_and_their_environment():
    jobs, compute = {"try a": Job(value=1), "try b": Job(value=2)}, COMPUTE.model_copy(update={"checkpoint": 7.0})
    one, two = stage.tasks_of(_write, jobs, compute)
    assert (one.label, two.label, one.every) == ("try a", "try b", 7.0) and one.folder != two.folder
    for name, value, same in (("workers", 4, True), ("checkpoint", 1.0, True), ("threads", 2, False)):
        again = stage.tasks_of(_write, jobs, compute.model_copy(update={name: value}))
        assert ([task.folder for task in again] == [one.folder, two.folder]) == same, name


# Checkpoints and results

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
    assert len({task_of(index, alpha=alpha).folder for index in (0, 1) for alpha in (1, 2)}) == 4


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
    assert "its checkpoint does not read; it is set aside as " in capfd.readouterr().err
    assert (task.folder / "state.safetensors.damaged").is_file() and not state.exists()


def flipped(path, bit):
    """Turns one bit of a file; counted from its end if it is negative."""
    content = bytearray(path.read_bytes())
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    path.write_bytes(content)


@pytest.mark.parametrize("place", [*range(0, 100, 7), *range(-40, 0, 5)])
def test_a_checkpoint_with_one_other_bit_is_set_aside(place, capfd):
    """Any bit counts: of the numbers, at the end, and of the record before them."""
    with locked_tasks([task_of()]) as (task,):
        task.start()
        task.checkpoint(
            {"at": 3, "images": torch.arange(4.0), "at_half": torch.arange(3).half(), "none": torch.zeros(0)}
        )
        state = task.folder / "state.safetensors"
        sound = state.read_bytes()
        flipped(state, place * len(sound) * 8 // 100 + 3)
        assert task.start() is None and not state.exists()
        sentence = capfd.readouterr().err
        assert sentence.count("\n") == 1 and f"it is set aside as {state}.damaged, starting afresh." in sentence
        state.write_bytes(sound)
        assert task.start()["at"] == 3, "whole again"


def test_a_checkpoint_of_nan_is_not_resumed(capfd):
    with locked_tasks([task_of()]) as (task,):
        task.start()
        task.checkpoint({"loss": float("nan"), "best": torch.tensor(torch.inf)})
        assert task.start() is not None, "no number of the work itself"
        task.checkpoint({"images": torch.tensor([1.0, torch.nan])})
        assert task.start() is None
    assert "its checkpoint holds NaN; it is set aside as " in capfd.readouterr().err


def _folder(path):
    path.unlink()
    path.mkdir()


def _fifo(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("put", [_folder, _fifo])
def test_what_lies_in_place_of_a_checkpoint_is_set_aside(put):
    with locked_tasks([task_of()]) as (task,):
        task.start()
        task.checkpoint({"at": 3})
        put(task.folder / "state.safetensors")
        assert task.start() is None
        task.checkpoint({"at": 4})
        assert task.start() == {"at": 4}


DAMAGES = {
    "out.txt has changed": lambda done: flipped(done / "out.txt", 5),
    "more/out.txt is missing": lambda done: (done / "more/out.txt").unlink(),
    "cost.json is missing": lambda done: (done / "cost.json").unlink(),
    "cost.json has changed": lambda done: (done / "cost.json").write_text("{"),
    "digests.json is missing or does not read": lambda done: (done / "digests.json").unlink(),
    "digests.json is missing or": lambda done: (done / "digests.json").write_text("[]"),
    "digests.json is missing": lambda done: [shutil.rmtree(done), done.mkdir()],
    "digests.json": lambda done: [shutil.rmtree(done), done.write_text("")],
}


@pytest.mark.parametrize("fault", DAMAGES)
def test_finished_work_that_is_damaged_is_set_aside_and_made_again(fault, capfd):
    def text(value):
        with stage.finished(_write_two, {"try it": Job(value=value)}, COMPUTE) as (task,):
            return task, (task.finished() / "out.txt").read_text()

    task, written = text("whole")
    DAMAGES[fault](task.done)
    assert task.finished() is None
    capfd.readouterr()
    for _ in range(2):  # once made again, it is reused
        assert text("whole")[1] == written == "whole"
    sentence = capfd.readouterr().err
    assert sentence.count("is damaged") == 1 and f"({fault}" in sentence
    assert f"it is set aside as {task.done}.damaged, and made again." in sentence
    assert task.done.with_name("done.damaged").exists()


def test_work_is_explained_by_inputs_that_are_its_own():
    with locked_tasks([task_of()]) as (task,):
        task.start()
    assert inputs_in(task.folder)["index"] == 0
    path = task.folder / "inputs.json"
    for damaged in (path.read_text().replace('"index": 0', '"index": 1'), "[]", "{}", "{"):
        path.write_text(damaged)
        with pytest.raises(BadInput, match=r"inputs\.json is "):
            inputs_in(task.folder)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"a": 1}', '{"a": {"seconds": "x"}}', '{"a": {"seconds": 1, "work": [1]}}']
)
def test_a_broken_record_of_costs_is_set_aside(content, tmp_path, capfd):
    jobs = {"try it": Job(value="x")}
    cost.path().parent.mkdir(parents=True)
    cost.path().write_text(content)
    with pytest.raises(BadInput, match=r"cost\.json is no"):
        cost.read(cost.path())
    write = lambda folder, tasks: (folder / "a").write_text("a")  # noqa: E731
    stage.produce("try", tmp_path / "out", write, _write, jobs, COMPUTE)
    assert [entry["stage"] for entry in cost.read(cost.path()).values()] == ["try"]
    assert cost.path().with_name("cost.json.damaged").read_text() == content
    assert capfd.readouterr().err.count("it is set aside as") == 1


def test_work_of_another_device_or_torch_is_set_aside_with_a_sentence(capfd):
    with locked_tasks([task_of()]) as (task,):
        task.start()
        with task.result():
            pass
    other = task_of(environment={**ENVIRONMENT, "device": "another"})
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


# Stages

COMPUTE = Compute(device="cpu", locks="auto", workers=1, threads=1, group=1, checkpoint=60.0)


def _write(job, task, device):
    """Writes what the job starts from and its own value."""
    task.start()
    before = (job.start.finished() / "out.txt").read_text() if job.start else ""
    with task.result() as folder:
        (folder / "out.txt").write_text(f"{before}{job.value}")


def _write_two(job, task, device):
    """Writes the job's value, and a file in a folder below."""
    task.start()
    with task.result() as folder:
        (folder / "out.txt").write_text(job.value)
        (folder / "more").mkdir()
        (folder / "more/out.txt").write_text(job.value)


def test_two_jobs_with_one_key_are_one_piece_of_work():
    """A random set that is also the k-means set: its student is trained once, and both rows have it."""
    jobs = {"baseline random": Job(value=1), "baseline kmeans": Job(value=1)}
    with stage.finished(_write, jobs, COMPUTE) as tasks:
        assert tasks[0].folder == tasks[1].folder and tasks[0].finished() is not None


def test_only_missing_jobs_are_made_and_before_them_what_they_need():
    first = {f"first {value}": Job(value=value) for value in "abc"}
    starts = dict(zip("abc", stage.tasks_of(_write, first, COMPUTE), strict=True))
    needed = []

    @contextlib.contextmanager
    def before(missing):
        names = [f"first {name}" for name, task in starts.items() if task in [job.start for job in missing]]
        needed.append(names)
        with stage.finished(_write, {name: first[name] for name in names}, COMPUTE):
            yield
            assert not any(free(starts[name[-1]]) for name in names), "held until what needs them is made"

    def texts(names):
        jobs = {f"second {name}": Job(value=name.upper(), start=starts[name]) for name in names}
        with stage.finished(_write, jobs, COMPUTE, before=before) as tasks:
            assert not any(map(free, tasks)), "held while they are read"
            return [(task.finished() / "out.txt").read_text() for task in tasks]

    assert texts("a") == ["aA"] and texts("cab") == ["cC", "aA", "bB"] and texts("bc") == ["bB", "cC"]
    assert needed == [["first a"], ["first b", "first c"]]
    assert all(map(free, starts.values()))


def free(task):
    with first_free([task.folder.with_name(f"{task.folder.name}.lock"), task.folder.with_name("spare.lock")]) as index:
        return index == 0


class Killed(Exception):
    pass


def walk(task, kills, due):
    """The states by unit of a random walk of ten, two a step, that stops before each unit of ``kills`` and begins again."""
    states = {}

    def unit(state):
        if state["units"] in kills and state["units"] not in killed:
            killed.append(state["units"])
            raise Killed
        state["place"] = state["place"] + torch.randn(3, generator=generator(0, "walk", state["units"]))
        state["units"] += 1
        assert torch.equal(states.setdefault(state["units"], state["place"]), state["place"])
        return None if state["units"] % 2 else {"place": state["place"][0]}

    task.due = lambda: due(len(states))
    killed, runs = [], 0
    while len(states) < 10:
        state, runs = {"units": 0, "place": torch.zeros(3)}, runs + 1
        with contextlib.suppress(Killed):
            complete(
                task,
                task.start(),
                advance=lambda state=state: unit(state),
                state_dict=lambda state=state: state,
                load_state_dict=state.update,
                at=lambda state=state: state["units"] // 2,
                total=5,
                unit="step",
            )
    assert runs == 1 + len(kills)
    return states


@pytest.mark.parametrize("due", [lambda units: True, lambda units: units % 3 == 0, lambda units: False])
def test_work_killed_at_every_unit_goes_through_the_same_states(due):
    whole = walk(task_of("whole"), (), due)
    for kills in [*((unit,) for unit in range(10)), range(10)]:
        states = walk(task_of(str(kills)), kills, due)
        assert all(torch.equal(states[unit], place) for unit, place in whole.items())


def test_work_that_is_at_its_end_does_nothing_more():
    task = task_of()
    task.start()
    complete(
        task,
        {"units": 5},
        advance=lambda: pytest.fail("nothing is left to do"),
        state_dict=dict,
        load_state_dict=lambda state: None,
        at=lambda: 5,
        total=5,
        unit="step",
    )


# Locks


def _hold(path, held):
    with locked(path):
        held.touch()
        time.sleep(120)


@pytest.fixture
def holder(tmp_path):
    """A process that holds ``a.lock``."""
    process = multiprocessing.get_context("spawn").Process(target=_hold, args=(tmp_path / "a.lock", tmp_path / "held"))
    process.start()
    while not (tmp_path / "held").exists():
        assert process.is_alive()
        time.sleep(0.05)
    yield process
    process.kill()
    process.join()


def test_the_first_free_lock_is_taken(holder, tmp_path, capfd):
    paths = [tmp_path / f"{name}.lock" for name in "abc"]
    with first_free(paths, "waiting") as one, first_free(paths, "waiting") as two:
        assert (one, two) == (1, 2)
    with first_free(paths, "waiting") as again:
        assert again == 1
    assert "waiting" not in capfd.readouterr().err


@pytest.mark.parametrize("names", ["a", "ab"])
def test_a_lock_that_all_others_hold_is_waited_for_and_a_killed_process_frees_its_own(holder, tmp_path, capfd, names):
    with locked(tmp_path / "b.lock"):
        timer = threading.Timer(0.5, holder.kill)
        timer.start()
        with first_free([tmp_path / f"{name}.lock" for name in names], "waiting") as index:
            assert index == 0 and timer.finished.is_set()
    assert capfd.readouterr().err.splitlines() == ["waiting"]


# Files


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
    with device.lease_device("auto", "auto", count=2) as first, device.lease_device("auto", "auto", count=2) as second:
        assert {first.index, second.index} == {0, 1}
    with device.lease_device("cuda:1", "auto", count=2) as again:
        assert again.index == 1
    with device.lease_device("auto", "auto", count=0) as cpu:
        assert cpu.type == "cpu"


def test_a_lease_is_of_the_card_and_not_of_its_number_or_the_clone(locks, monkeypatch, tmp_path):
    def seeing(*cards):
        properties = [SimpleNamespace(uuid=card) for card in cards]
        monkeypatch.setattr(device.torch.cuda, "get_device_properties", lambda index: properties[index])

    seeing("card-a", "card-b")
    with device.lease_device("cuda:1", "auto", count=2):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("DVC_ROOT", str(tmp_path))
        seeing("card-b", "card-a")
        with device.lease_device("auto", "auto", count=2) as other:
            assert other.index == 1, "its first is the other's second"
    assert sorted(path.name for path in locks.iterdir()) == ["card-a.lock", "card-b.lock"]


def test_other_users_can_lock_the_same_files(locks):
    before = os.umask(0o077)
    try:
        with device.lease_device("cuda:0", "auto", count=1):
            assert locks.stat().st_mode & 0o7777 == 0o1777
            assert (locks / "0.lock").stat().st_mode & 0o777 == 0o666
        assert os.umask(0o077) == 0o077, "as it was"
    finally:
        os.umask(before)


def test_the_folder_of_locks_can_be_another(locks, tmp_path):
    with device.lease_device("cuda:0", str(tmp_path / "own"), count=1):
        assert [path.name for path in (tmp_path / "own").iterdir()] == ["0.lock"]
    assert not locks.exists()


IN_THE_PLACE = {
    "file": lambda path: path.write_text("precious"),
    "link": lambda path: path.symlink_to(path.parent.parent),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "FIFO": os.mkfifo,
    "folder": Path.mkdir,
}


@pytest.mark.parametrize("kind", [kind for kind in IN_THE_PLACE if kind != "folder"])
def test_what_is_in_the_place_of_the_folder_of_locks_is_one_sentence(locks, kind):
    IN_THE_PLACE[kind](locks)
    with pytest.raises(BadInput) as refused, device.lease_device("cuda:0", "auto", count=1):
        pass
    assert str(refused.value).startswith(
        f"{locks} should be a folder, for locks of GPUs, but is none: remove it, or let "
    )
    assert "compute.locks" in str(refused.value)


@pytest.mark.parametrize("kind", [kind for kind in IN_THE_PLACE if kind != "file"])
def test_what_is_in_the_place_of_a_lock_is_one_sentence(locks, kind):
    locks.mkdir()
    IN_THE_PLACE[kind](locks / "0.lock")
    with pytest.raises(BadInput) as refused, device.lease_device("cuda:0", "auto", count=1):
        pass
    said = "a link" if "link" in kind else "no regular file"
    assert str(refused.value).startswith(
        f"{locks / '0.lock'} cannot be locked, as it is {said}: remove it, or let compute."
    )


def test_a_lock_does_not_empty_the_file_in_its_place(locks):
    locks.mkdir()
    (locks / "0.lock").write_text("precious")
    with device.lease_device("cuda:0", "auto", count=1):
        assert (locks / "0.lock").read_text() == "precious"


def refused_to_another_user(folder):
    """What a lease is refused with in a process that may not do all."""
    reader, writer = os.pipe()
    if not (child := os.fork()):
        try:
            if os.getuid() == 0:
                os.setuid(65534)
            with device.lease_device("cuda:0", str(folder), count=1):
                pass
        except BadInput as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with open(reader) as said:
        return said.read()


@pytest.fixture
def open_folder():
    """A folder that every user may write; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


def test_a_lock_that_another_user_closed_is_one_sentence_with_a_way_out(open_folder):
    (open_folder / "0.lock").touch()
    (open_folder / "0.lock").chmod(0o400 if os.getuid() else 0o600)
    said = refused_to_another_user(open_folder)
    assert said.startswith(f"{open_folder / '0.lock'} cannot be locked, as it belongs to ") and "compute.locks" in said


def test_a_folder_of_locks_that_is_closed_is_one_sentence_with_a_way_out(open_folder):
    open_folder.chmod(0o755 if os.getuid() == 0 else 0o555)
    said = refused_to_another_user(open_folder)
    assert "is not open to others: have its mode set to 1777, or let compute.locks name another" in said


@pytest.mark.parametrize("value", ["locks", "", "/tmp/\0", 5])
def test_the_folder_of_locks_is_absolute(value):
    with pytest.raises(BadInput, match="compute.locks is "):
        validate(Compute, {**COMPUTE.model_dump(), "locks": value}, "compute")


@pytest.mark.parametrize("choice", ["cuda", "cuda:2"])
def test_a_gpu_that_is_not_there_is_one_sentence(choice):
    with pytest.raises(device.BadInput, match="shows 0 GPUs"), device.lease_device(choice, "auto", count=0):
        pass


def _sum_of_draws(index):
    return float(torch.randn(1000, 64, generator=generator(0, "tasks", index)).mm(torch.ones(64, 64)).sum())


def test_the_answer_does_not_depend_on_the_number_of_workers():
    alone = list(map_tasks(_sum_of_draws, range(5), 1, 1))
    assert list(map_tasks(_sum_of_draws, range(5), 3, 1)) == alone
    assert len(set(alone)) == 5


@pytest.mark.parametrize(
    ("workers", "kind", "threads", "most"),
    [
        ("auto", "cpu", 1, 8),
        ("auto", "cpu", 3, 2),
        ("auto", "cpu", 16, 1),
        ("auto", "cuda", 1, 1),
        (5, "cpu", 8, 5),
        (3, "cuda", 1, 3),
    ],
)
def test_auto_workers_fill_the_processors_and_a_card_has_one(workers, kind, threads, most, monkeypatch):
    monkeypatch.setattr(tasks, "processors", lambda: 8)
    assert tasks.most(workers, kind, threads) == most


def test_workers_die_with_their_parent(tmp_path):
    script = (
        "import os, sys, time\n"
        "from distillation.runtime.tasks import map_tasks\n"
        "def sleep(path):\n"
        "    with open(f'{path}.new', 'w') as file:\n"
        "        file.write(str(os.getpid()))\n"
        "    os.rename(f'{path}.new', path)\n"
        "    time.sleep(120)\n"
        "if __name__ == '__main__':\n"
        "    list(map_tasks(sleep, [sys.argv[1] + '/a', sys.argv[1] + '/b'], 2, 1))\n"
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
