import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "on_gpu.py"


@pytest.fixture
def archive(tmp_path):
    draws = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in ("a", "b"):
            folder = tmp_path / "set" / split / label
            folder.mkdir(parents=True)
            for index in range(12):  # cells take ten images of a class
                Image.fromarray(draws.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    return tmp_path / "set"


def command(archive, out, minutes):
    options = ["--quick", "--device", "cpu", "--threads", "1", "--archive", str(archive), "--out", str(out)]
    return [sys.executable, str(SCRIPT), "--minutes", str(minutes), *options]


def read(out):
    results, summary = json.loads((out / "results.json").read_text()), (out / "summary.md").read_text()
    assert all(f"| {name} | {item['status']} |" in summary for name, item in results["items"].items())
    return results["items"]


@pytest.mark.slow
def test_a_rehearsal_reaches_every_item_and_what_each_shows(archive, tmp_path):
    out = tmp_path / "out"
    done = subprocess.run(command(archive, out, 5), capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    items = read(out)
    assert {name: item for name, item in items.items() if item["status"] != "done"} == {}
    assert {"resume dm", "selections", "busy dm", "busy dsa", "busy student", "step dm", "step mtt"} <= set(items)
    assert items["resume dm"]["result"]["equal"] is True
    for name in ("cell random 10", "cell dm 10", "cell dsa 10", "cell dm 1"):
        assert items[name]["result"]["n"] == 2 and 0 <= items[name]["result"]["mean"] <= 100


def test_a_run_without_time_begins_nothing_and_says_so(archive, tmp_path):
    out = tmp_path / "out"
    done = subprocess.run(command(archive, out, 0), capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    items = read(out)
    assert items and {item["status"] for item in items.values()} == {"no time left"}


def test_a_stopped_run_leaves_what_it_finished(archive, tmp_path):
    out = tmp_path / "out"
    run = subprocess.Popen(command(archive, out, 5), stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    first = run.stdout.readline()  # the first item is finished
    time.sleep(0.5)
    run.send_signal(signal.SIGTERM)
    run.stdout.read()
    assert run.wait(60) == 143
    items = read(out)
    assert items[first.split(":")[0]]["status"] == "done"
    assert len(items) < 15


def test_missing_modules_are_named_by_their_wheels(archive, tmp_path):
    out = tmp_path / "out"
    bare = [sys.executable, "-S", *command(archive, out, 1)[1:]]
    done = subprocess.run(bare, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "pydantic" in done.stderr and "--wheels" in done.stderr and "Traceback" not in done.stderr
    assert "pillow" in json.loads((out / "results.json").read_text())["environment"]["missing"]
