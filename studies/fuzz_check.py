"""Random parameter files against `check`, and random combinations that it accepts through all stages.

    python -m studies.fuzz_check --files 1000
    python -m studies.fuzz_check --files 0 --runs 50

A file is params.yaml with a leaf replaced by a random value of a random type, or a key dropped, doubled or renamed. `check`
must accept it or refuse it in one sentence with exit status 2; a traceback or a second line counts as a failure.

A run is a random combination of method, networks, labels and sizes on the embedded digits, with budgets of a step or two. If
`check` accepts it, every stage runs in a process of its own; a failure is whatever does not end in status 0. The seed of each
failure is printed: `--seed` begins there.
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
from collections.abc import Iterator
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
    "epochs": 1,
    **dict.fromkeys(("iterations", "steps", "inner", "outer", "pool_steps"), 2),
    **dict.fromkeys(
        ("seeds", "draws", "count", "pool", "snapshots", "expert_epochs", "max_start", "refresh", "fresh"), 1
    ),
    **dict.fromkeys(("warmup", "queue_start", "frozen", "teacher_warmup"), 0),
    **dict.fromkeys(("dim", "hidden", "out", "prototypes", "queue", "k"), 16),
}
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


def mutated(seed: int) -> str:
    """The text of params.yaml with one random change."""
    draws, values = random.Random(seed), YAML(typ="safe").load(PRODUCT.read_text())
    path = draws.choice(list(leaves(values)))
    path = path[: draws.randint(1, len(path))] if draws.random() < 0.2 else path  # a whole section, too
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
    changed = {(mark if key == path[-1] else key): each for key, each in place.items()}
    place.clear()
    place.update(changed)
    line = next(i for i, text in enumerate(_text(values).splitlines()) if text.strip().startswith(mark))
    original = {(path[-1] if key == mark else key): each for key, each in place.items()}
    place.clear()
    place.update(original)
    return line


def combination(seed: int) -> dict[str, Any]:
    """Parameters with a random method, networks, labels and sizes, and budgets of a step or two."""
    draws, values = random.Random(seed), YAML(typ="safe").load(PRODUCT.read_text())
    for path in list(leaves(values)):
        section, key = at(values, path[:-1]), path[-1]
        if key in BUDGETS and isinstance(section[key], int):
            section[key] = min(section[key], BUDGETS[key])
        if key in BATCHES and isinstance(section[key], (int, NoneType)):
            whole = key != "splits" and (path[0] in ("teacher", "objectives") or path[1] in ("whole", "transfer"))
            section[key] = draws.choice(PASSES if whole else (1, 2, 3, 4, 7, 8, 16, 64))
    values["compute"]["threads"] = 1
    values["dataset"]["pixels"] = draws.choice((None, None, 8, 9, 12, 16))
    values["dataset"]["colour"] = draws.choice(("auto", "auto", "rgb"))
    values["dataset"]["zca"] = draws.random() < 0.2
    pool, method, labels, tests = values["teacher"]["main"], values["method"], values["relabel"], values["evaluate"]
    method["name"] = draws.choice([name for name in methods.names() if name != "imported"])
    usual = {"mtt": "trajectory", "krr_st": draws.choice(("moco_v2", "dino", "barlow_twins"))}
    others = [name for name in objectives.names() if name != "imported"]
    pool["objective"] = usual.get(method["name"], draws.choice(("supervised", "supervised", draws.choice(others))))
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
    tests["transfer"]["finetune"]["steps"] = 2
    for fkd in (labels["fkd"], tests["standard"]["fkd"]):
        fkd["epochs"] = 2
    if draws.random() < 0.3:
        values["targets"] = {"other": {key: values["dataset"][key] for key in ("name", "pixels", "colour", "zca")}}
        tests["transfer"]["protocols"] = ["finetune", "linear"]
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


def files(count: int, seed: int) -> None:
    """Checks ``count`` random files and prints statuses, failures and seconds."""
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


def runs(count: int, seed: int) -> None:
    """Runs ``count`` accepted combinations to their end and prints those that fail."""
    accepted, refused, failed, each = 0, 0, 0, seed
    with tempfile.TemporaryDirectory() as folder:
        while accepted < count:
            values, log = combination(each), Path(folder) / f"{each}.log"
            each += 1
            if checked(_text(values))[0]:
                refused += 1
                continue
            accepted += 1
            print(f"run {accepted} of {count}: seed {each - 1}", flush=True)
            if status := run_all(values, log):
                failed += 1
                name = {key: values["method"][key] for key in ("name", "network", "ipc", "chunk")}
                print(f"seed {each - 1}: status {status}: {json.dumps(name)}\n{log.read_text()[-1500:]}", flush=True)
    print(f"{accepted} accepted combinations, {failed} failed; {refused} refused")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000, help="parameter files that are checked")
    parser.add_argument("--runs", type=int, default=0, help="accepted combinations that are run to their end")
    parser.add_argument("--seed", type=int, default=0, help="of the first file and combination")
    args = parser.parse_args()
    files(args.files, args.seed)
    runs(args.runs, args.seed)
