"""A given number of minutes on a card, the most valuable items first; it can be stopped at any moment.

    python benchmarks/on_gpu.py --minutes 13 --out DIR --archive cifar10-jpeg.tar.xz [--wheels DIR] [--quick] [--device cpu]

It needs no DVC. DIR/results.json and DIR/summary.md are replaced after each item. An item begins only if its expected time
is left, and ends at its limit. ``--quick`` rehearses: sizes that measure nothing.
"""

import argparse
import copy
import importlib
import importlib.util
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# what the library imports beside torch, and the wheel of each
MODULES = {
    "numpy": "numpy", "pandas": "pandas", "PIL": "pillow", "pydantic": "pydantic", "ruamel.yaml": "ruamel.yaml",
    "safetensors": "safetensors", "matplotlib": "matplotlib", "threadpoolctl": "threadpoolctl", "torchvision": "torchvision",
    "jinja2": "jinja2", "kornia": "kornia", "lightly": "lightly", "scipy": "scipy", "sklearn": "scikit-learn",
    "filelock": "filelock", "psutil": "psutil", "tqdm": "tqdm",
}  # fmt: skip
PROFILED = {"dm": ("dm_step", "dm"), "dsa": ("matching_step", "dsa matching"), "student": ("student_step", "student")}
SELECTIONS = ("random", "gaussian", "herding", "kcenter", "kmeans")


class Ended(BaseException):
    """The time of an item is over (``limit``), or the run is to stop (``stopped``)."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """Something to measure: those of greater value come first; ``expected`` and ``limit`` are seconds."""

    name: str
    value: float
    expected: float
    limit: float
    run: Callable[
        [dict[str, Any], float], None
    ]  # fills a dictionary until time.monotonic() reaches the second argument


def missing() -> list[str]:
    """The wheels of modules that cannot be found."""

    def found(module: str) -> bool:
        try:
            return importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:
            return False

    return [wheel for module, wheel in MODULES.items() if not found(module)]


def environment(args: argparse.Namespace) -> dict[str, Any]:
    """Describes Python, torch and the card; installs missing wheels from ``--wheels`` into DIR/site."""
    facts: dict[str, Any] = {"python": platform.python_version(), "missing": missing()}
    if facts["missing"] and args.wheels:
        site = args.out / "site"
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--find-links", str(args.wheels)]
        done = subprocess.run([*command, "--target", str(site), *facts["missing"]], capture_output=True, text=True)
        facts["pip"] = done.stderr.strip()[-500:]
        sys.path.append(str(site))  # last: what is installed comes first
        importlib.invalidate_caches()
        facts["missing"] = missing()
    if importlib.util.find_spec("torch") is None:
        facts["missing"].append("torch")
        return facts
    import torch

    facts |= {"torch": torch.__version__, "cuda": torch.version.cuda, "device": args.device}
    if args.device.startswith("cuda"):
        if not torch.cuda.is_available():
            facts["fault"] = "torch finds no card"
        else:
            free, total = torch.cuda.mem_get_info(args.device)
            facts |= {
                "card": torch.cuda.get_device_name(args.device),
                "free_gib": free / 2**30,
                "total_gib": total / 2**30,
            }
    return facts


def steps(args: argparse.Namespace) -> Iterator[Item]:
    """Each benchmark's steps: straightforward, eager, compiled in fp32 and in bf16, as ``python -m benchmarks`` races them."""
    from benchmarks import __main__ as command
    from benchmarks import floor

    peaks: list[floor.Peaks] = []

    def race(word: str, found: dict[str, Any], end: float) -> None:
        import torch

        where, found["steps"] = torch.device(args.device), []
        if not peaks:
            peaks.append(floor.peaks(where, ["fp32", "bf16"], 128 if args.quick else 8192))
        module, own = sized(args, command.MODULES[word])
        with tempfile.TemporaryDirectory() as folder:
            for name, hot in module.steps(own, where, Path(folder)).items():
                if time.monotonic() > end:
                    found["partial"] = True
                    return
                found["steps"] += command.rows_of(name, hot, own, where, peaks[0])

    for place, word in enumerate(command.MODULES):
        value = 6 - 0.1 * place
        yield Item(
            name=f"step {word}", value=value, expected=15 * args.scale, limit=60, run=lambda f, e, w=word: race(w, f, e)
        )


def sized(args: argparse.Namespace, file: str) -> tuple[Any, argparse.Namespace]:
    """A benchmark's module, and its arguments at the sizes of this run; chunks as large as a card likes."""
    from benchmarks import common

    module = importlib.import_module(f"benchmarks.{file}")
    own = module.arguments().parse_args([])
    shared = {"device": args.device, "threads": args.threads, "eager": args.quick, "steps": 1 if args.quick else 5}
    shared |= {"precision": "fp32", "compile": False}
    if "chunk" in own and not args.quick:
        shared["chunk"] = 2560
    return module, common.changed(own, **(module.SIZES["tiny"] if args.quick else {}), **shared)


def busy(args: argparse.Namespace, word: str, found: dict[str, Any], end: float) -> None:
    """The share of the time in which the card computes, over ten steps of ours (bf16 compiled, and fp32 eager)."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from benchmarks import common

    file, name = PROFILED[word]
    module, own = sized(args, file)
    where = torch.device(args.device)
    with tempfile.TemporaryDirectory() as folder:
        hot = module.steps(own, where, Path(folder))[name]
        for precision, compile in [("fp32", False)] if args.quick else [("fp32", False), ("bf16", True)]:
            step = hot.ours(common.changed(own, precision=precision, compile=compile))
            step(), step()
            if where.type != "cuda":
                found["note"] = "no card: nothing to profile"
                continue
            torch.cuda.synchronize()
            begun = time.perf_counter()
            with profile(activities=[ProfilerActivity.CUDA]) as record:
                for _ in range(10):
                    step()
                torch.cuda.synchronize()
            spent = time.perf_counter() - begun
            kernels = sum(event.self_device_time_total for event in record.key_averages()) / 1e6
            found[f"{precision}{' compiled' if compile else ' eager'}"] = {
                "busy": kernels / spent,
                "seconds": spent / 10,
            }


def parameters(args: argparse.Namespace, method: str, ipc: int) -> Any:
    """The Params of a cell: CIFAR-10 from the archive, ConvNet, the protocol standard."""
    from distillation import api

    network = "ConvNetD2W64NN" if args.quick else "ConvNet"
    changes = {
        "dataset.name": "imagefolder", "dataset.archive": str(args.archive), "dataset.stats": "computed",
        "method.name": method, "method.alpha": 0.0,
        "method.ipc": ipc, "method.network": network, "evaluate.networks": [network], "compute.device": args.device,
        "compute.threads": args.threads, "method.compile": False, "evaluate.compile": False,
        "evaluate.standard.hard.epochs": 2 if args.quick else 1000,
    }  # fmt: skip
    if method in ("herding", "kcenter", "kmeans"):
        changes[f"method.{method}.features"] = "pixels"  # no teacher is trained here
    if method == "dm":
        changes |= {
            "method.dm.iterations": 4 if args.quick else 20000,
            "method.dm.batch_real": 4 if args.quick else 256,
        }
    if method == "dsa":
        changes |= {
            "method.dsa.iterations": 1 if args.quick else 1000,
            "method.dsa.batch_real": 4 if args.quick else 256,
        }
    return api.load_params(changes)


def method_of(args: argparse.Namespace, params: Any, data: Any) -> Any:
    """A new method on the device."""
    import torch

    from distillation import methods
    from distillation.methods.base import Common, Problem

    common = params.fields("method", Common)
    module = methods.load(common.name)
    problem = Problem(data.to(args.device), common, torch.device(args.device), None)
    return module.METHOD(problem, params.section(f"method.{common.name}", module.Settings))


def cell(args: argparse.Namespace, method: str, ipc: int, found: dict[str, Any], end: float) -> None:
    """Distils in the first 60 % of the time, then trains students by the protocol; what time cut short is marked."""
    from distillation import api
    from distillation.evaluation import classify
    from distillation.evaluation.sets import FromFile
    from distillation.evaluation.settings import EvaluateCommon, training_settings
    from distillation.methods.driver import updates
    from distillation.runtime.work import Task

    params = parameters(args, method, ipc)
    data = api.load_dataset(params)
    run, begun = method_of(args, params, data), time.monotonic()
    found |= {"method": method, "ipc": ipc, "updates": 0, "units": f"0 of {run.total}", "accuracies": []}
    for unit in updates(run):
        found |= {"updates": unit.updates, "units": f"{run.at} of {run.total}"}
        if time.monotonic() > begun + 0.6 * (end - begun):
            break
    found["partial"] = run.at < run.total
    found["distil_seconds"] = time.monotonic() - begun
    settings, kind = training_settings(params, "standard", (distilled := run.result()).kind)
    precision = params.fields("evaluate", EvaluateCommon).precision
    protocol = classify.Protocol(kind=kind, settings=settings, precision=precision, compile=False)
    with tempfile.TemporaryDirectory() as work:
        data.save(Path(work) / "data")
        distilled.save(Path(work) / "set")
        for seed in range(2 if args.quick else 5):
            started = time.monotonic()
            network = params.value("evaluate.networks")[0]
            job = classify.Job(data=Path(work) / "data", source=FromFile(Path(work) / "set"), network=network, seed=seed,
                               protocol=protocol)  # fmt: skip
            task = Task(f"student {seed}", Path(work) / str(seed), {})
            classify.train(job, task, args.device)
            record = next((Path(work) / str(seed)).rglob(classify.RECORD))
            scores = found["accuracies"]
            scores.append(json.loads(record.read_text())["accuracy"])
            found |= {"mean": statistics.fmean(scores), "std": statistics.pstdev(scores), "n": len(scores)}
            if 2 * time.monotonic() - started > end:
                break


def resumed(args: argparse.Namespace, found: dict[str, Any], end: float) -> None:
    """Whether k updates of DM, a checkpoint and k more have the bits of 2 k updates."""
    import torch

    from distillation import api
    from distillation.methods.driver import updates

    params, half = parameters(args, "dm", 1), 2 if args.quick else 20
    data = api.load_dataset(params)
    whole, first, second = (method_of(args, params, data) for _ in range(3))
    for method, count in ((whole, 2 * half), (first, half)):
        units = updates(method)
        for _ in range(count):
            next(units)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    units = updates(second, start=half)
    for _ in range(half):
        next(units)
    found |= {"updates": 2 * half, "equal": torch.equal(whole.images.detach().cpu(), second.images.detach().cpu())}


def selections(args: argparse.Namespace, found: dict[str, Any], end: float) -> None:
    """Seconds of each method that selects or draws."""
    from distillation import api

    for name in SELECTIONS:
        if time.monotonic() > end:
            found["partial"] = True
            return
        params = parameters(args, name, 1)
        data, before = api.load_dataset(params), time.perf_counter()
        api.distill(params, data)
        found[name] = time.perf_counter() - before


def schedule(args: argparse.Namespace) -> list[Item]:
    """All items, the most valuable first."""
    from distillation import methods

    few = args.scale
    items = [*steps(args)]
    items.append(Item(name="resume dm", value=9, expected=20 * few, limit=40, run=lambda f, e: resumed(args, f, e)))
    for word in PROFILED:
        items.append(
            Item(
                name=f"busy {word}", value=8, expected=25 * few, limit=60, run=lambda f, e, w=word: busy(args, w, f, e)
            )
        )
    cells = [("random", 10, 7.9, 60), ("dm", 10, 7.8, 150), ("rded", 10, 7.7, 90), ("dsa", 10, 5.5, 180)]
    cells += [("random", 1, 4.9, 40), ("dm", 1, 4.8, 90), ("rded", 1, 4.7, 60), ("dsa", 1, 4.6, 120)]
    for method, ipc, value, seconds in cells:
        if method in methods.names():
            run = lambda f, e, m=method, i=ipc: cell(args, m, i, f, e)  # noqa: E731
            items.append(
                Item(name=f"cell {method} {ipc}", value=value, expected=0.5 * seconds * few, limit=seconds, run=run)
            )
    items.append(Item(name="selections", value=4, expected=30 * few, limit=60, run=lambda f, e: selections(args, f, e)))
    return sorted(items, key=lambda item: -item.value)


def write(out: Path, results: dict[str, Any]) -> None:
    """Replaces both files, each at once."""
    lines = ["# A run of benchmarks/on_gpu.py", "", "```", json.dumps(results["environment"], indent=1), "```", ""]
    lines += ["| item | status | seconds | result |", "|---|---|---|---|"]
    for name, item in results["items"].items():
        values = item["result"]
        if "steps" in values:
            rest = {key: value for key, value in values.items() if key != "steps"}
            values = rest | {f"{row['step']} {row['contestant']} {row['precision']}{' compiled' if row['compiled'] else ''}":
                     f"{1e3 * row['seconds']:.2f} ms x{row['ratio']:.2f}" for row in values["steps"]}  # fmt: skip
        text = "; ".join(f"{key}: {value}" for key, value in values.items()).replace("|", "/").replace("\n", " ")
        lines.append(f"| {name} | {item['status']} | {item['seconds']:.1f} | {text} |")
    for file, text in (("results.json", json.dumps(results, indent=1)), ("summary.md", "\n".join(lines) + "\n")):
        partial = out / f".{file}"
        partial.write_text(text)
        os.replace(partial, out / file)


def attempt(item: Item, deadline: float) -> dict[str, Any]:
    """Runs one item within its limit and the deadline; returns its status, seconds and what it found."""
    begun, found, status = time.monotonic(), {}, "done"
    end = min(deadline, begun + item.limit)
    signal.setitimer(
        signal.ITIMER_REAL, max(0.01, end - begun)
    )  # for what does not look at the clock, such as compiling
    try:
        item.run(found, end)
    except Ended as reason:
        status = str(reason)
    except Exception as fault:  # one item that fails does not cost the others their time
        status, found["fault"] = "failed", f"{type(fault).__name__}: {fault}"[:500]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if status == "done" and found.get("partial"):
        status = "partial"
    return {"status": status, "seconds": time.monotonic() - begun, "result": found}


def main(args: argparse.Namespace) -> int:
    """Runs the schedule; returns the exit status: 0, 2 if the environment lacks something, 143 if stopped."""
    deadline = time.monotonic() + 60 * args.minutes

    def end(reason: str) -> Callable:
        def handler(*_: object) -> None:
            raise Ended(reason)

        return handler

    signal.signal(signal.SIGALRM, end("limit"))
    signal.signal(signal.SIGTERM, end("stopped"))
    signal.signal(signal.SIGINT, end("stopped"))
    args.out.mkdir(parents=True, exist_ok=True)
    args.scale = 0.02 if args.quick else 1.0
    results: dict[str, Any] = {"environment": environment(args), "items": {}}
    write(args.out, results)
    lacks = results["environment"]
    if lacks["missing"] or "fault" in lacks:
        wheels = f"wheels are missing: {', '.join(lacks['missing'])}; name a folder of them by --wheels"
        print(f"on_gpu: {lacks.get('fault') or wheels}.", file=sys.stderr)
        return 2
    sys.path.insert(0, str(ROOT))
    try:
        for item in schedule(args):
            left = deadline - time.monotonic()
            if left < item.expected:
                results["items"][item.name] = {"status": "no time left", "seconds": 0.0, "result": {}}
            else:
                results["items"][item.name] = done = attempt(item, deadline)
                print(f"{item.name}: {done['status']}, {done['seconds']:.1f} s", flush=True)
                if done["status"] == "stopped":
                    return 143
            write(args.out, results)
    except Ended:
        return 143
    finally:
        write(args.out, results)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--archive", type=Path, required=True, help="CIFAR-10 as a folder or archive: train/CLASS/*, test/CLASS/*"
    )
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--device", default="cuda")
    sys.exit(main(parser.parse_args()))
