"""Random parameter files against `check`, and random combinations that it accepts through all stages.

    python -m studies.fuzz_check --files 1000
    python -m studies.fuzz_check --files 0 --finish 50
    python -m studies.fuzz_check --files 0 --runs 50

A file is params.yaml with a leaf replaced by a random value of a random type, or a key dropped, doubled or renamed. `check`
must accept it or refuse it in one sentence with exit status 2; a traceback or a second line counts as a failure.

Two kinds of parameters are run to their end, with budgets of a step or two: such files (`--finish`), in which the method,
objective, labels or protocol is chosen that reads what was changed, and random combinations of method, networks, labels and
sizes on the embedded digits (`--runs`). If `check` accepts them, all stages run in a process of their own. A run that does
not end in status 0 is printed with its seed, at which `--seed` begins. Status 2 with one sentence is right where a stage
alone can see what is wrong, such as a loss that diverges; every other status is a failure.
"""

import argparse
import contextlib
import io
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType
from typing import Any

from ruamel.yaml import YAML

from distillation import methods
from distillation.labels import kinds
from distillation.runtime.errors import guarded
from distillation.teachers import objectives
from stages import (
    assess,
    baseline,
    check,
    distill,
    download,
    enough,
    evaluate,
    kd,
    relabel,
    report,
    teacher,
    transfer,
    whole,
)

PRODUCT = Path(__file__).resolve().parents[1] / "params.yaml"
WORDS = [
    "",
    "x",
    "auto",
    "null",
    "ConvNet",
    "ConvNetW99999",
    "$5_$10",
    "../..",
    "a" * 300,
    "\u732b",
    "a\nb",
    "1e5",
    "{}",
]
NUMBERS = [0, -1, 1, 2, 7, 10**9, 10**10, 10**30, 2**63, 0.0, -0.5, 0.5, 1.0, 1e-30, 1e30, 1e300]
SPECIAL = [float("nan"), float("inf"), True, False, None, [], {}, [1], ["x"], {"x": 1}, [[[]]], {"size": 1}]
LIMIT = 300  # seconds of a run: a hundred times what one takes
# what makes a run short: the most of each key, wherever it stands
BUDGETS = {
    **dict.fromkeys(("epochs", "threads"), 1),
    **dict.fromkeys(("iterations", "steps", "inner", "outer", "pool_steps"), 2),
    **dict.fromkeys(
        ("seeds", "draws", "count", "pool", "snapshots", "expert_epochs", "max_start", "refresh", "fresh"), 1
    ),
    **dict.fromkeys(("warmup", "queue_start", "frozen", "teacher_warmup"), 0),
    **dict.fromkeys(("dim", "hidden", "out", "prototypes", "queue", "k"), 16),
}
# objectives of the teachers without which a method cannot work
NEEDS = {"mtt": ["trajectory"], "krr_st": ["barlow_twins", "moco_v2", "dino"]}
BATCHES = ("batch", "batch_real", "batch_syn", "batch_train", "batch_net", "update_syn", "chunk", "real", "splits")
PASSES = (36, 48, 64, 131)  # images of a batch where all training images pass; 131 leaves one of digits' 1442 over
NETWORKS = [
    *("ConvNetW4", "ConvNetW4D1", "ConvNetW4BN", "ConvNetW4GN", "ConvNetW4LN", "ConvNetW4D2NP", "ConvNetW4NNMP", "MLP"),
    *("ResNet10W4BN", "ResNet10W4", "ResNet18W4BN_AP", "ResNet10W4BN_P2", "ResNet50W2BN", "MobileNetV2", "LeNet"),
]


def leaves(values: Any, path: tuple = ()) -> Iterator[tuple]:
    """Yields the path of every leaf of nested mappings; an empty mapping is one."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def at(values: Any, path: tuple) -> Any:
    """The value at a path of keys."""
    for key in path:
        values = values[key]
    return values


def value(draws: random.Random) -> Any:
    """A random value of a random type."""
    kind = draws.choice(("word", "number", "special", "integer", "float"))
    if kind == "integer":
        return draws.randint(-5, 10 ** draws.randint(1, 18))
    if kind == "float":
        return draws.uniform(-2, 2) * 10.0 ** draws.randint(-12, 12)
    return draws.choice({"word": WORDS, "number": NUMBERS, "special": SPECIAL}[kind])


def product() -> dict[str, Any]:
    """The values of params.yaml."""
    return YAML(typ="safe").load(PRODUCT.read_text())


def changed(draws: random.Random) -> tuple:
    """The path in params.yaml at which a random change is made: a leaf, or a section."""
    path = draws.choice(list(leaves(product())))
    return path[: draws.randint(1, len(path))] if draws.random() < 0.2 else path


def mutated(seed: int) -> str:
    """The text of params.yaml with one random change."""
    draws, values = random.Random(seed), product()
    path = changed(draws)
    section, key = at(values, path[:-1]), path[-1]
    change = draws.choice(("replaced", "replaced", "replaced", "dropped", "doubled", "renamed"))
    if change == "doubled":
        lines = _text({key: section[key]}).splitlines()
        text = _text(values).splitlines()
        place = _line_of(values, path)
        indented = ["  " * (len(path) - 1) + line for line in lines]
        return "\n".join([*text[:place], *indented, *text[place:]]) + "\n"
    old = section.pop(key)
    if change == "replaced":
        section[key] = value(draws)
    elif change == "renamed":
        section[draws.choice([f"{key}s", "size", "nfiles", key.upper(), "", "a" * 300])] = old
    return _text(values)


def _text(values: Any) -> str:
    stream, yaml = io.StringIO(), YAML()
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.dump(values, stream)
    return stream.getvalue()


def _line_of(values: Any, path: tuple) -> int:
    """The line at which the key at a path stands in ``_text(values)``."""
    mark, place = "fuzzed-here", at(values, path[:-1])
    marked = {(mark if key == path[-1] else key): each for key, each in place.items()}
    place.clear()
    place.update(marked)
    line = next(i for i, text in enumerate(_text(values).splitlines()) if text.strip().startswith(mark))
    original = {(path[-1] if key == mark else key): each for key, each in place.items()}
    place.clear()
    place.update(original)
    return line


def shorten(values: dict[str, Any]) -> None:
    """Lowers all budgets of ``values`` to ``BUDGETS``, in place."""
    for path in list(leaves(values)):
        section, key = at(values, path[:-1]), path[-1]
        if key in BUDGETS and isinstance(section[key], int):
            section[key] = min(section[key], BUDGETS[key])


def put_to_use(values: dict[str, Any], path: tuple) -> None:
    """Chooses, in place, what reads the value at ``path``: a method, an objective, a kind of labels or a protocol."""
    method, pool, labels, tests = values["method"], values["teacher"]["main"], values["relabel"], values["evaluate"]
    match path:
        case ("method", name, _, *_) if name in methods.names():
            method["name"] = name
            pool["objective"] = NEEDS.get(name, ["supervised"])[0]
            # recovery reads the statistics of batch norms, which mtt refuses
            method["network"] = "ConvNetW4" if name == "mtt" else "ConvNetW4BN"
            pool["networks"] = [method["network"]]
        case ("objectives", name, _, *_):
            pool["objective"], pool["networks"] = name, ["ConvNetW4BN"]
        case ("relabel", kind, _, *_):
            labels["kind"] = kind
        case ("evaluate", "standard", "regression", _):
            method["name"] = "kip"
        case ("evaluate", "standard" | "pretrain", kind, _):
            labels["kind"] = {"soft": "probs"}.get(kind, kind)
        case ("evaluate", "common", _):
            tests["protocols"] = ["common"]
        case ("evaluate", "assess", _):
            tests["assess"]["teachers"] = ["main"]
    features = method["name"] == "krr_st" or labels["kind"] == "features"
    if features:  # of which no protocol trains classes
        tests["protocols"] = []
    if features or path[:2] in (("evaluate", "pretrain"), ("evaluate", "transfer"), ("evaluate", "kd")):
        tests["transfer"]["protocols"] = ["finetune", "linear"]
        give_target(values, "ConvNetW4")


def give_target(values: dict[str, Any], teacher: str | None) -> None:
    """Adds, in place, a dataset for transfer and, with the network of a ``teacher``, one for knowledge distillation."""
    values["targets"] = {"other": {key: values["dataset"][key] for key in ("name", "pixels", "colour", "zca")}}
    values["evaluate"]["transfer"]["finetune"]["steps"] = 2
    if teacher:
        values["teacher"]["kd"] = {"source": "targets/other", "objective": "supervised", "networks": [teacher]}
        values["evaluate"]["kd"]["teachers"] = {"other": "kd"}


def shortened(seed: int) -> dict[str, Any] | None:
    """The random file ``seed`` as values, its change put to use and its budgets lowered; None if `check` refuses it."""
    text = mutated(seed)
    if checked(text)[0]:
        return None
    values = YAML(typ="safe").load(text)
    put_to_use(values, changed(random.Random(seed)))
    shorten(values)
    return values


def combination(seed: int) -> dict[str, Any]:
    """Parameters with a random method, networks, labels and sizes, and budgets of a step or two."""
    draws, values = random.Random(seed), product()
    shorten(values)
    for path in list(leaves(values)):
        section, key = at(values, path[:-1]), path[-1]
        if key in BATCHES and isinstance(section[key], (int, NoneType)):
            whole = key != "splits" and (path[0] in ("teacher", "objectives") or path[1] in ("whole", "transfer"))
            section[key] = draws.choice(PASSES if whole else (1, 2, 3, 4, 7, 8, 16, 64))
    values["dataset"]["pixels"] = draws.choice((None, None, 8, 9, 12, 16))
    values["dataset"]["colour"] = draws.choice(("auto", "auto", "rgb"))
    values["dataset"]["zca"] = draws.random() < 0.2
    pool, method, labels, tests = values["teacher"]["main"], values["method"], values["relabel"], values["evaluate"]
    method["name"] = draws.choice([name for name in methods.names() if name != "imported"])
    others = [name for name in objectives.names() if name != "imported"]
    usual = ("supervised", "supervised", draws.choice(others))
    pool["objective"] = draws.choice(NEEDS.get(method["name"], usual))
    pool["networks"] = [draws.choice(NETWORKS)]
    method["network"] = pool["networks"][0] if method["name"] == "mtt" else draws.choice(NETWORKS)
    method["ipc"], method["init"] = draws.choice((1, 1, 2, 3)), draws.choice(("real", "noise"))
    method["alpha"] = (
        draws.choice((0.0, 0.0, 1.0)) if getattr(methods.load(method["name"]).METHOD, "guided", False) else 0.0
    )
    method["guidance"]["distance"] = draws.choice(("ce", "ce_ratio", "cos"))
    labels["kind"] = draws.choice(("keep", "keep", *kinds.names()))
    tests["networks"] = draws.sample(NETWORKS, 1)
    tests["protocols"] = draws.choice((["standard"], ["common"], ["standard", "common"], []))
    tests["assess"]["teachers"] = draws.choice(([], ["main"]))
    for fkd in (labels["fkd"], tests["standard"]["fkd"]):
        fkd["epochs"] = 2
    if draws.random() < 0.3:
        tests["transfer"]["protocols"] = ["finetune", "linear"]
        give_target(values, draws.choice(NETWORKS) if draws.random() < 0.5 else None)
    return values


def checked(text: str | bytes) -> tuple[int, str]:
    """(exit status, stderr) of the stage check on a parameter file; -1 and the traceback if it raises."""
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        contextlib.redirect_stderr(io.StringIO()) as said,
    ):
        Path("data").mkdir()
        Path("params.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        try:
            return guarded(check.run), said.getvalue()
        except Exception:
            return -1, traceback.format_exc()


def sound(status: int, said: str) -> bool:
    """Whether `check` accepted, with nothing but notes, or refused in one line."""
    lines = said.splitlines()
    notes = [line for line in lines if not line.startswith("note: ")]
    return (status, len(notes)) == (0, 0) or (status == 2 and len(lines) == 1 and lines[0].startswith("error: "))


def files(count: int, seed: int) -> int:
    """Checks ``count`` random files, prints statuses, failures and seconds, and returns the number of failures."""
    statuses, seconds = Counter(), {}
    checked(PRODUCT.read_bytes())  # imports the modules of all methods, which is not timed
    for each in range(seed, seed + count):
        start = time.perf_counter()
        status, said = checked(mutated(each))
        seconds[each] = time.perf_counter() - start
        statuses[status if sound(status, said) else "failure"] += 1
        if not sound(status, said):
            print(f"seed {each}: status {status}\n{said}")
    if seconds:
        mean, slowest = sum(seconds.values()) / count, max(seconds, key=seconds.__getitem__)
        print(f"{count} files: {dict(statuses)}; seconds mean {mean:.3f}, most {seconds[slowest]:.3f} (seed {slowest})")
    return statuses["failure"]


def stages_of(values: dict[str, Any]) -> Iterator[tuple]:
    """Yields (function, arguments) of all stages in order, as dvc.yaml has them."""
    yield download.run, "dataset"
    yield (enough.run,)
    for name in values["targets"]:
        yield download.run, f"targets/{name}"
    for name in values["teacher"]:
        yield teacher.run, name
    yield (distill.run,)
    yield (relabel.run,)
    for protocol in values["evaluate"]["protocols"]:
        yield evaluate.run, protocol, None
        yield baseline.run, protocol
    yield (whole.run,)
    for name in values["targets"]:
        yield transfer.run, "distilled", name
        yield transfer.run, "baseline", name
    for name, pool in values["evaluate"]["kd"]["teachers"].items():
        yield kd.run, "distilled", name, pool
        yield kd.run, "baseline", name, pool
    for name in values["evaluate"]["assess"]["teachers"]:
        yield assess.run, name
    yield (report.run,)


def run_all(values: dict[str, Any], log: Path) -> int:
    """Runs all stages in a folder and a process of their own; returns the exit status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    signal.alarm(LIMIT)
    status = 1
    with open(log, "w") as stream, tempfile.TemporaryDirectory() as folder:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        os.chdir(folder)
        Path("data").mkdir()
        Path("params.yaml").write_text(_text(values))
        try:
            for function, *arguments in stages_of(values):
                print(f"stage {function.__module__} {arguments}", file=sys.stderr, flush=True)
                if status := guarded(function, *arguments):
                    break
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stderr.flush()
    os._exit(status)


def runs(make: Callable[[int], dict[str, Any] | None], count: int, seed: int) -> int:
    """Runs ``count`` accepted parameter files to their end and prints those that do not end in status 0.

    Args:
        make: function of a seed that returns the values of a file, or None if there is none to run.
        count: runs.
        seed: of the first file.

    Returns:
        The number of failures: runs that ended neither in 0 nor in 2.
    """
    refused, statuses, each = 0, Counter(), seed
    with tempfile.TemporaryDirectory() as folder:
        while statuses.total() < count:
            values, log = make(each), Path(folder) / f"{each}.log"
            each += 1
            if values is None or checked(_text(values))[0]:
                refused += 1
                continue
            print(f"run {statuses.total() + 1} of {count}: seed {each - 1}", flush=True)
            status = run_all(values, log)
            statuses[status] += 1
            if status:
                name = {key: values["method"][key] for key in ("name", "network", "ipc", "chunk")}
                print(f"seed {each - 1}: status {status}: {json.dumps(name)}\n{log.read_text()[-1500:]}", flush=True)
    if count:
        print(f"{make.__name__}: {count} accepted files ended in {dict(statuses)}; {refused} refused")
    return count - statuses[0] - statuses[2]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000, help="parameter files that are checked")
    parser.add_argument("--finish", type=int, default=0, help="accepted parameter files that are run to their end")
    parser.add_argument("--runs", type=int, default=0, help="accepted combinations that are run to their end")
    parser.add_argument("--seed", type=int, default=0, help="of the first file and combination")
    args = parser.parse_args()
    failures = files(args.files, args.seed)
    failures += runs(shortened, args.finish, args.seed)
    failures += runs(combination, args.runs, args.seed)
    sys.exit(failures > 0)
