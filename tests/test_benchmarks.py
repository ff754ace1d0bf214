import csv

import pytest

from benchmarks import __main__ as command
from benchmarks import floor, linear

STEPS = [
    "dm", "dc matching", "dc inner step", "dsa matching", "dsa inner step", "apm image step", "apm student", "recovery",
    "krr_st outer step", "frepo", "kip", "mtt update", "guidance", "self-supervised step", "student", "small students",
    "decode",
]  # fmt: skip


def test_the_table_has_every_hot_step_and_its_rows_are_complete(tmp_path, capsys):
    file = tmp_path / "rows.csv"
    command.main(
        command.arguments().parse_args(["--tiny", "--eager", "--steps", "1", "--threads", "1", "--csv", str(file)])
    )
    with file.open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == command.FIELDS
    assert [row["step"] for row in rows] == [step for step in STEPS for _ in range(2)]
    assert [row["contestant"] for row in rows] == ["straightforward", "ours"] * len(STEPS)
    empty = {name for row in rows for name, value in row.items() if not value}
    assert empty <= {"compile_seconds", "sets"}  # nothing was compiled; a processor may have none of the sets
    assert all(float(row["gflop"]) > 0 for row in rows if row["step"] != "decode")
    printed = capsys.readouterr().out
    assert all(any(line.startswith(step) for line in printed.splitlines()) for step in STEPS)


def test_only_takes_benchmarks_and_methods_and_refuses_other_words(capsys):
    assert command.chosen("mtt,dsa,dm") == ["dm", "matching", "mtt"]
    with pytest.raises(SystemExit) as ended:
        command.chosen("dm,nonsense")
    assert ended.value.code == 2 and "nonsense" in capsys.readouterr().err


def test_the_floor_counts_a_product_of_matrices_and_its_backward_pass():
    import torch

    left, right = torch.randn(8, 4, requires_grad=True), torch.randn(4, 2, requires_grad=True)
    needed = floor.work(lambda: (left @ right).sum().backward())
    assert needed.flops == 3 * 2 * 8 * 4 * 2
    assert needed.bytes == 3 * 4 * (8 * 4 + 4 * 2 + 8 * 2)
    peaks = floor.Peaks(flops={"fp32": 1.0, "bf16": 1e9}, bytes=1.0)
    assert needed.seconds(peaks, "fp32") == max(needed.flops, needed.bytes)
    assert needed.seconds(peaks, "bf16") == needed.bytes / 2


def test_the_growth_has_three_sizes_of_each_step(capsys):
    linear.main(linear.arguments().parse_args(["--tiny", "--steps", "1", "--threads", "1"]))
    lines = capsys.readouterr().out.splitlines()
    for step in ("dm", "dsa matching", "apm image step", "recovery", "student"):
        assert sum(line.startswith(step) for line in lines) == 3
