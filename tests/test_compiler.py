"""Compiled code is kept in the repository for later processes, apart for each build and processor, with the same bits."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch
from torch._inductor.runtime.cache_dir_utils import default_cache_dir

from distillation.runtime import compiler, device
from tests.helpers.clones import ROOT

VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
STUDENT = """
import hashlib, json, os
from torch._dynamo.utils import counters
from tests.helpers.training import training
from distillation.runtime import device, graphs

device.prepare(1)
made, _ = training()
made.forward = graphs.graphed(made.network, "cpu")
while not made.done:
    made.advance()
bits = b"".join(value.numpy().tobytes() for value in made.network.state_dict().values())
found = {name: counters["inductor"][name] for name in ("fxgraph_cache_hit", "fxgraph_cache_miss")}
print(json.dumps({"folder": os.environ["TORCHINDUCTOR_CACHE_DIR"], "bits": hashlib.sha256(bits).hexdigest(), **found}))
"""


@pytest.fixture
def unset(monkeypatch, own_root):
    """The variable of the compiler's folder unset, and again when the test is over."""
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.delenv(VARIABLE)


def test_code_is_kept_in_the_repository_itself(unset, tmp_path, monkeypatch):
    (tmp_path / ".dvc").mkdir()
    device.compiled(torch.sin)
    assert os.environ[VARIABLE] == str(compiler.code_folder())
    assert compiler.code_folder().parent == tmp_path / ".dvc/tmp/compiled"


def test_torchs_own_default_is_no_folder_of_the_users(monkeypatch, own_root):
    """torch names it in the environment as soon as a network is built."""
    monkeypatch.setenv(VARIABLE, default_cache_dir())
    device.compiled(torch.sin)
    assert os.environ[VARIABLE] == str(compiler.code_folder())


def test_a_folder_of_the_users_own_stays(monkeypatch, tmp_path, own_root):
    monkeypatch.setenv(VARIABLE, "/elsewhere")
    device.compiled(torch.sin)
    assert os.environ[VARIABLE] == "/elsewhere"


def test_each_build_and_each_processor_has_a_folder_of_its_own(own_root, tmp_path, monkeypatch):
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(compiler, "CPUINFO", info)

    def folder(flags="avx2 avx512f", mhz="2600.1"):
        info.write_text(
            f"processor\t: 0\nmodel name\t: one\ncpu MHz\t\t: {mhz}\nflags\t\t: {flags}\n\nprocessor\t: 1\n"
        )
        return compiler.code_folder()

    known = folder()
    assert folder(mhz="3100.7") == known  # the clock changes all the time
    assert folder(flags="avx2 avx512f amx_bf16") != known
    monkeypatch.setattr(torch, "__version__", "0.0")
    assert folder() != known
    info.unlink()
    assert compiler.processor(info)


def test_it_says_once_that_compiling_begins_and_whether_code_is_there(unset, capsys):
    compiler._tell.cache_clear()
    device.compiled(torch.sin)
    device.compiled(torch.cos)
    first = capsys.readouterr().err
    assert first == f"{compiler.sentence(compiler.code_folder(), torch.cuda.is_available())}\n"
    assert first.startswith("Compiling for this machine: ") and first.endswith("; later runs find it again.\n")
    (compiler.code_folder() / "fxgraph").mkdir(parents=True)
    compiler._tell.cache_clear()
    device.compiled(torch.sin)
    assert "is found again" in capsys.readouterr().err


def test_whatever_compiles_says_so_before():
    """``forget`` names the compiler's folder: code that compiled without it would be kept elsewhere, and lost."""
    compiling = [
        file for file in (ROOT / "distillation").rglob("*.py") if re.search(r"\.compile\(.*dynamic", file.read_text())
    ]
    assert {file.stem for file in compiling} >= {"device", "apm", "loop"}
    assert all("forget()\n" in file.read_text() for file in compiling)


@pytest.mark.slow  # compiles twice, or once if it is right: 10 to 40 s
def test_a_second_process_finds_the_code_of_the_first_and_has_its_bits(tmp_path, monkeypatch, unset):
    first, second = (
        json.loads(
            subprocess.run(
                [sys.executable, "-c", STUDENT], cwd=ROOT, capture_output=True, text=True, check=True, timeout=600
            ).stdout
        )
        for _ in range(2)
    )
    assert first["fxgraph_cache_miss"] > 0 and first["fxgraph_cache_hit"] == 0
    assert second["fxgraph_cache_hit"] == first["fxgraph_cache_miss"] and second["fxgraph_cache_miss"] == 0
    assert first["bits"] == second["bits"]
    assert first["folder"] == second["folder"] == str(compiler.code_folder())
