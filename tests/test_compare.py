"""Results side by side: what Git holds of them, what they say together, and what cannot be compared."""

import json
import math
import re
import subprocess

import pandas as pd
import pytest
from dvc.repo import Repo
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from distillation.commands import compare
from distillation.compare import accuracies, assessments, correlation, page
from distillation.recipes import results
from distillation.recipes.results import Result, flat
from distillation.runtime.errors import BadInput, guarded

METRIC = "evaluate.standard.ConvNet"


def metrics_of(mean, std=1.0, network="ConvNet", **assessed):
    found = {"evaluate": {"standard": {network: {"mean": mean, "std": std}}}}
    return found | ({"assess": {"main": assessed}} if assessed else {})


def result(name, params=None, metrics=None):
    return Result(name, flat({"evaluate": {"seeds": 3}} | (params or {})), flat(metrics or {}))


def several(pairs):
    return [result(f"r{i}", None, metrics_of(y, accuracy=x, outside=7.0, new=1.0)) for i, (x, y) in enumerate(pairs)]


def test_parameters_in_which_results_differ_come_in_the_files_order():
    common = {"dataset": {"name": "digits"}}
    a = result("a", common | {"method": {"ipc": 1, "alpha": 0.0, "list": [1, 2]}})
    b = result("b", common | {"method": {"ipc": 1, "alpha": 10, "list": [1, 3]}, "new": {"key": None}})
    assert accuracies.changed_parameters([a, b]) == ["method.alpha", "method.list"]
    assert accuracies.changed_parameters([a, a]) == []
    shown = accuracies.section([a, b]).shown
    assert shown["method.list"].tolist() == ["1, 2", "1, 3"] and shown["method.alpha"].tolist() == ["0.0", "10"]


def test_accuracies_are_mean_std_and_n():
    a = result("a", None, metrics_of(87.7, 1.33))
    b = result("b", {"evaluate": {"seeds": 1}}, metrics_of(80.0, 0.0, "AlexNet"))
    found = accuracies.section([a, b])
    assert found.shown["standard.ConvNet"].tolist() == ["87.70 ± 1.33 (3)", "–"]
    assert found.shown["standard.AlexNet"].tolist() == ["–", "80.00 (1)"]
    assert found.values[f"{METRIC}.mean"][0] == 87.7 and math.isnan(found.values[f"{METRIC}.mean"][1])
    assert found.values["n"].tolist() == [3, 1]
    assert "chosen on the test set" not in found.note


def test_the_best_of_tests_is_marked_and_never_the_metric():
    metrics = metrics_of(80.0)
    metrics["evaluate"]["standard"] |= {"best_test": {"ConvNet": {"mean": 90.0, "std": 1.0}}}
    metrics["evaluate"]["standard"] |= {"control": {"ConvNet": {"mean": 60.0, "std": 1.0}}}
    found = [result("a", None, metrics), result("b", None, metrics_of(70.0))]
    assert "best_test is chosen on the test set" in accuracies.section(found).note
    assert accuracies.main_accuracy(found) == METRIC
    assert accuracies.main_accuracy(found[:1]) == METRIC


def test_the_metric_is_the_one_that_most_results_have():
    found = [result(n, None, metrics_of(1.0, network=w)) for n, w in (("a", "A"), ("b", "B"), ("c", "B"))]
    assert accuracies.main_accuracy(found) == "evaluate.standard.B"
    assert accuracies.main_accuracy(found, "evaluate.standard.A.mean") == "evaluate.standard.A"
    with pytest.raises(
        BadInput, match=r"no result has the metric 'evaluate\.x'; there are evaluate\.standard\.A, eval"
    ):
        accuracies.main_accuracy(found, "evaluate.x")
    with pytest.raises(BadInput, match="no result has an accuracy"):
        accuracies.main_accuracy([result("a")])


@given(
    st.lists(
        st.tuples(st.floats(-9, 9).map(lambda x: round(x, 2)), st.integers(0, 99)), min_size=3, max_size=9, unique=True
    )
)
def test_correlations_are_scipys(pairs):
    found = correlation.section(several(pairs), METRIC).values.set_index("assessment")
    x, y = zip(*pairs, strict=True)
    line = found.loc["main.accuracy"]
    assert line["n"] == len(pairs)
    if len(set(x)) > 1 and len(set(y)) > 1:
        assert line["pearson"] == pytest.approx(stats.pearsonr(x, y)[0], abs=1e-6)
        assert line["spearman"] == pytest.approx(stats.spearmanr(x, y)[0], abs=1e-9)
    else:
        assert math.isnan(line["pearson"]) and math.isnan(line["spearman"])
    assert math.isnan(found.loc["main.outside"]["pearson"])  # constant


def test_two_results_have_no_correlation_but_say_so():
    shown = correlation.section(several([(1.0, 1.0), (2.0, 3.0)]), METRIC).shown
    assert set(shown[["pearson", "spearman"]].values.flatten()) == {""}
    assert set(shown["n"]) == {2}


def test_only_results_with_both_count_and_equal_ones_once():
    found = several([(1.0, 10.0), (2.0, 30.0), (3.0, 20.0)])
    found += [result("copy", {"compute": {"workers": 2}}, metrics_of(10.0, accuracy=1.0, outside=7.0, new=1.0))]
    found += [
        result("without", None, metrics_of(50.0)),
        result("other", None, metrics_of(1.0, network="B", accuracy=4.0)),
    ]
    line = correlation.section(found, METRIC).values.iloc[0]
    assert (line["n"], line["pearson"], line["spearman"]) == (3, pytest.approx(0.5), pytest.approx(0.5))


def test_assessments_come_by_pool_in_the_reports_order():
    metrics = {"assess": {"b": {"new": 2.0, "outside": 1.0, "accuracy": 12.3456}, "a": {"cross_entropy": 0.5}}}
    found = assessments.section([result("x", None, metrics), result("y")])
    assert found.shown.columns.tolist() == ["result", "a.cross_entropy", "b.accuracy", "b.outside", "b.new"]
    assert found.shown.values.tolist() == [["x", "0.5", "12.35", "1", "2"], ["y", "–", "–", "–", "–"]]


def test_without_assessments_the_way_to_them_is_named():
    found = [result("a", None, metrics_of(1.0)), result("b", None, metrics_of(2.0))]
    sections = [accuracies.section(found), assessments.section(found), correlation.section(found, METRIC)]
    said = page.text(sections)
    assert said.count("evaluate.assess.teachers=[main]") == 2 and "Empty" not in said
    assert sections[2].draw is None and "<img" not in page.html(sections)


def test_the_page_needs_nothing_else_and_escapes_names():
    found = several([(1.0, 1.0), (2.0, 3.0), (3.0, 2.0)])
    found[0] = Result("<b>&", found[0].params, found[0].metrics)
    sections = [accuracies.section(found), assessments.section(found), correlation.section(found, METRIC)]
    content = page.html(sections)
    assert "&lt;b&gt;&amp;" in content and "<b>&" not in content
    assert "<script" not in content and not re.findall(r"https?://(?!www\.w3)", content)
    assert not re.findall(r"""(?:src|href|srcset)\s*=\s*["'](?!data:)""", content)
    assert content == page.html(sections)


def test_names_of_results_are_one_line_in_a_terminal():
    found = [result("a\x1b[31m\nb", None, metrics_of(1.0)), result("\udcff", None, metrics_of(2.0))]
    lines = page.text([accuracies.section(found)]).splitlines()
    assert len(lines) == 5  # a title, a head, two results, a note
    assert all(line.isprintable() for line in lines)


def git(folder, *args):
    done = subprocess.run(["git", *args], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A Git and DVC repository with one commit, two experiments of it and one of an older commit."""
    root = tmp_path_factory.mktemp("compared")
    git(root, "init", "-qb", "main")
    for key, value in (("user.name", "a"), ("user.email", "a@b")):
        git(root, "config", key, value)
    Repo.init(str(root)).close()
    commits = []
    for i, (alpha, mean) in enumerate([(0.0, 60.0), (0.0, 70.0), (10.0, 75.0), (100.0, 71.0), (1.0, 62.0)]):
        put(root, alpha, mean, accuracy=50.0 + i)
        git(root, "add", "-A")
        git(root, "commit", "-qm", f"c{i}")
        commits.append(git(root, "rev-parse", "HEAD"))
    old, head, *experiments = commits
    git(root, "reset", "-q", "--hard", head)
    for base, name, commit in ((head, "one", 0), (head, "two", 1), (old, "early", 2)):
        git(root, "update-ref", f"refs/exps/{base[:2]}/{base[2:]}/{name}", experiments[commit])
    return root


def put(root, alpha, mean, **assessed):
    (root / "reports").mkdir(exist_ok=True)
    (root / "params.yaml").write_text(f"method:\n  alpha: {alpha}\nevaluate:\n  seeds: 5\n")
    (root / "reports/metrics.json").write_text(json.dumps(metrics_of(mean, **assessed)))


@pytest.fixture
def inside(made, monkeypatch):
    monkeypatch.chdir(made)
    monkeypatch.setattr(compare.process, "begin", lambda: None)
    yield made
    git(made, "reset", "-q", "--hard")
    git(made, "clean", "-qfd")


def test_head_its_experiments_and_the_workspace_are_read(inside):
    found = results.read()
    assert [r.name for r in found] == ["HEAD, workspace", "one", "two"]
    assert [r.params["method.alpha"] for r in found] == [0.0, 10.0, 100.0]
    assert [r.metrics[f"{METRIC}.mean"] for r in found] == [70.0, 75.0, 71.0]
    put(inside, 5.0, 73.0)
    assert [r.name for r in results.read()] == ["HEAD", "one", "two", "workspace"]
    assert [r.name for r in results.read(every=True)] == ["HEAD", "one", "two", "early", "workspace"]
    assert [r.name for r in results.read(["early", "main~1", "workspace"])] == ["early", "main~1", "workspace"]


def test_a_workspace_whose_parameters_were_not_run_is_marked(inside):
    put(inside, 5.0, 70.0, accuracy=51.0)  # HEAD's metrics
    (inside / "dvc.yaml").write_text("stages:\n  a:\n    cmd: echo\n    params:\n    - method.alpha\n")
    found = results.read()
    assert [r.name for r in found] == ["HEAD", "one", "two", "workspace (not reproduced)"]
    assert correlation.section(found, METRIC).values["n"].tolist() == [3]


def test_results_whose_lock_is_of_other_parameters_or_of_a_part_are_marked():
    params = {"method.ipc": 1, "teacher.main.count": 1, "evaluate.protocols": ["standard"]}
    made = {"outs": [{"path": "data/distilled", "md5": "one"}]}
    used = {"deps": [{"path": "data/distilled", "md5": "one"}, {"path": "stages", "md5": "two"}]}
    other = {"deps": [{"path": "data/distilled", "md5": "another"}]}
    checked = {"params": {"params.yaml": {"method": {"ipc": 1}, "evaluate.protocols": ["standard"]}}}
    stages = {"check": checked, "distill": made, "evaluate@standard": used}
    assert results._of_one_run(params, stages) and results._of_one_run(params, {})
    assert not results._of_one_run(params | {"method.ipc": 10}, stages)
    assert not results._of_one_run(params, stages | {"evaluate@standard": other})
    assert results._of_one_run(params, stages | {"evaluate@gone": other}), "DVC keeps what was there before"


def test_a_revision_without_results_has_blanks(inside):
    (inside / "reports/metrics.json").unlink()
    found = results.read(["one", "workspace"])
    assert found[1].metrics == {}
    assert accuracies.section(found).shown["standard.ConvNet"].tolist() == ["75.00 ± 1.00 (5)", "–"]


def test_the_command_writes_tables_figure_and_page(inside, tmp_path, capsys):
    out = tmp_path / "out"
    assert guarded(compare.run, [], True, None, str(out)) == 0
    said = capsys.readouterr().out
    assert "75.00 ± 1.00 (5)" in said and f"Correlation with {METRIC}" in said
    table = pd.read_csv(out / "correlation.csv").set_index("assessment")
    # assessments 51 to 54 against 70, 75, 71 and 62
    assert table.loc["main.accuracy", "n"] == 4
    assert table.loc["main.accuracy", "pearson"] == pytest.approx(stats.pearsonr([51, 52, 53, 54], [70, 75, 71, 62])[0])
    assert (out / "correlation.png").read_bytes().startswith(b"\x89PNG")
    content = (out / "index.html").read_text()
    assert "75.00 ± 1.00 (5)" in content and content.count("<img") == 1
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    assert guarded(compare.run, [], True, None, str(out)) == 0
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


def test_a_figure_of_an_earlier_comparison_goes(inside, tmp_path):
    compare.write([correlation.section(several([(1.0, 1.0), (2.0, 3.0)]), METRIC)], tmp_path)
    assert (tmp_path / "correlation.png").is_file()
    compare.write([correlation.section([result("a"), result("b")], METRIC)], tmp_path)
    assert not (tmp_path / "correlation.png").exists() and (tmp_path / "correlation.csv").is_file()


@pytest.mark.parametrize(
    ("names", "metric", "sentence"),
    [
        (["nope"], None, "'nope' is neither an experiment nor a revision of this repository; there are HEAD, one, two"),
        (["--help"], None, "'--help' is neither"),
        (["HEAD"], None, "there is one result only (HEAD), nothing to compare it to"),
        (["HEAD", "workspace"], None, "there is one result only (HEAD, workspace)"),
        ([], "evaluate.nope", "no result has the metric 'evaluate.nope'; there are evaluate.standard.ConvNet"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(inside, tmp_path, capsys, names, metric, sentence):
    assert guarded(compare.run, names, False, metric, str(tmp_path / "out")) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and sentence in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("reports/metrics.json", "{", "reports/metrics.json of workspace does not read: "),
        ("reports/metrics.json", "[1]", "reports/metrics.json of workspace is no mapping."),
        ("params.yaml", "a: [", "params.yaml of workspace does not read: "),
    ],
)
def test_a_broken_file_is_one_sentence(inside, capsys, file, content, sentence):
    (inside / file).write_text(content)
    assert guarded(results.read) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {sentence}") and said.count("\n") == 1


def test_help_says_what_it_reads_and_writes():
    assert "\nReads " in compare.__doc__ and "\nWrites " in compare.__doc__
