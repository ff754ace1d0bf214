"""The report on small faithful artefacts: its numbers, its bytes, and what it says when something is missing."""

import json
import re
import shutil

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits

from distillation.data.distilled import DistilledSet
from distillation.data.spaces import Space
from distillation.report import figures, lettering, page, pictures, reading, tables
from distillation.runtime.errors import BadInput, guarded
from stages import report

torch.set_num_threads(1)


def artefacts(
    root, classes=10, ipc=1, channels=1, networks=("ConvNet",), protocols=("standard",), control=True, curve=True
):
    """Everything that the stages before the report leave under ``root``."""
    names = [str(c) for c in range(10)] if classes == 10 else [f"class {c}" for c in range(classes)]
    rng = np.random.default_rng(0)
    images = _images(classes, ipc, channels)
    space = Space.normalised([0.3] * channels, [0.4] * channels)
    info = {"labels": "hard", "feed": "stored", "method": "dm", "ipc": ipc, "classes": names}
    info |= {"seed": 0, "dataset": "digits"}
    made = DistilledSet(space.encode(images), torch.arange(classes).repeat_interleave(ipc), None, space, info)
    for folder in ("distilled", "relabeled"):
        made.save(root / "data" / folder / "distilled.safetensors")
    cost = {"updates": 1000, "images_forward": 2570000, "images_backward": 10000, "gflop": 1234.5}
    settings = {"method.name": "dm", "method.ipc": ipc, "method.dm.lr_img": 1.0, "method.augment": "auto"}
    _json(
        root / "data/distilled/info.json",
        {"method": "dm", "ipc": ipc, "dataset": "digits", "classes": names, "seed": 0, "alpha": 0.0}
        | {"settings": settings, "cost": cost, "bytes": made.bytes},
    )
    if curve:
        steps = np.arange(1, 1001)
        losses = 3 * np.exp(-steps / 200) + 0.4 + 0.05 * rng.standard_normal(1000)
        _csv(root / "data/distilled/curve.csv", {"iteration": steps, "loss": losses.round(6)})
    relabel = {"kind": "keep", "labels": "hard", "teacher": None, "pixels": made.pixels, "bytes": made.bytes}
    _json(
        root / "data/relabeled/info.json", relabel | {"settings": {"relabel.kind": "keep", "relabel.control": control}}
    )
    for protocol in protocols:
        _protocol(root, protocol, networks, control, classes * ipc, rng)
    _csv(root / "reports/whole/rows.csv", _results([("whole", None)], networks, 2, {"whole": 98.9}, rng))
    _json(root / "reports/whole/info.json", {"settings": {"evaluate.seeds": 2}, "images": {"whole": 1437}})
    _teachers(root / "models/teachers/main", networks)
    (root / "params.yaml").write_text(
        "evaluate:\n  protocols:\n"
        + "".join(f"  - {p}\n" for p in protocols)
        + "  assess:\n    teachers: []\n  kd:\n    teachers: {}\ntargets: {}\nteacher:\n  main:\n    count: 1\n"
    )
    return root


def _images(classes, ipc, channels):
    digits = load_digits()
    picked = [digits.images[digits.target == c % 10][c // 10 :][:ipc] / 16 for c in range(classes)]
    images = torch.tensor(np.concatenate(picked), dtype=torch.float32).unsqueeze(1)
    if channels == 1:
        return images
    big = images.repeat_interleave(4, 2).repeat_interleave(4, 3)
    tint = torch.tensor([0.9, 0.6, 0.3]).view(1, 3, 1, 1)
    return big * tint + 0.1


def _protocol(root, protocol, networks, control, images, rng):
    sets = [("distilled", None)] + [("control", None)] * control
    rows = _results(sets, networks, 3, {"distilled": 71.2, "control": 49.0}, rng)
    curves = [
        {"set": kind, "network": n, "seed": s, "epoch": e, "loss": round(2.3 * np.exp(-e / 60) + 0.01 * (s + 1), 6)}
        for kind, _ in sets
        for n in networks
        for s in range(3)
        for e in range(0, 300, 5)
    ]
    folder = root / "reports/evaluation" / protocol
    _csv(folder / "rows.csv", rows)
    _csv(folder / "curves.csv", curves)
    info = {"protocol": protocol, "labels": "hard", "checkpoint": "last", "cost": {"steps": 900, "gflop": 45.6}}
    _json(folder / "info.json", info | {"settings": {f"evaluate.{protocol}.hard.epochs": 300, "evaluate.seeds": 3}})
    sets = [("random", draw) for draw in range(10)] + [("kmeans", 0), ("mean", 0)]
    levels = {"random": 47.5, "kmeans": 66.0, "mean": 60.9}
    folder = root / "reports/baseline" / protocol
    _csv(folder / "rows.csv", _results(sets, networks, 3, levels, rng))
    counts = {"random": images, "kmeans": images, "mean": 10}
    _json(folder / "info.json", {"settings": {"evaluate.seeds": 3, "baseline.draws": 10}, "images": counts})


def _results(sets, networks, seeds, levels, rng):
    return [
        {"set": kind}
        | ({} if draw is None else {"draw": draw})
        | {"network": network, "seed": seed, "accuracy": round(levels[kind] - 3 * i + rng.normal(0, 0.8), 2)}
        | {"train_accuracy": 100.0, "loss": 0.01}
        for kind, draw in sets
        for i, network in enumerate(networks)
        for seed in range(seeds)
    ]


def _teachers(folder, networks):
    found = [
        {"network": n, "index": i, "parameters": 301000, "kept": [{"name": "last", "epoch": 30, "accuracy": 98.33 - i}]}
        for n in networks
        for i in range(2)
    ]
    info = {"pool": "main", "dataset": "digits", "objective": "supervised", "precision": "fp32", "networks": found}
    _json(
        folder / "pool.json", info | {"settings": {"teacher.main.epochs": 30, "teacher.main.networks": list(networks)}}
    )
    epochs = range(1, 31)
    _csv(
        folder / "curves.csv",
        [
            {
                "network": n,
                "index": i,
                "epoch": e,
                "loss": 2 * np.exp(-e / 5),
                "train_accuracy": 100 - 90 * np.exp(-e / 4),
            }
            for n in networks
            for i in range(2)
            for e in epochs
        ],
    )


def _csv(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path, index=False, lineterminator="\n")


def _json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The usual case, and what the report wrote for it."""
    root = artefacts(tmp_path_factory.mktemp("plain"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(report.process, "begin", lambda: None)
        assert guarded(report.run) == 0
    return root


@pytest.fixture
def made(tmp_path):
    """Artefacts to break or to read, without control and curve."""
    return artefacts(tmp_path, control=False, curve=False)


def html(root):
    return (root / "reports/index.html").read_text(encoding="utf-8")


def text(page_):
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", page_, flags=re.DOTALL))


def rendered(root, protocols=("standard",), pools=("main",)):
    found = reading.read(protocols, pools, root)
    return page.render(page.context(found))


def rows(kind, network, accuracies, draw=None):
    frame = pd.DataFrame({"set": kind, "network": network, "seed": range(len(accuracies)), "accuracy": accuracies})
    frame["loss"] = 0.01
    return frame if draw is None else frame.assign(draw=draw)


def test_summary_is_mean_and_population_std_with_n():
    table = tables.summary(rows("random", "A", [40.0, 44.0], 0), rows("distilled", "A", [70.0, 71.0, 75.0]))
    assert table["set"].tolist() == ["random", "distilled"]
    ours = table.iloc[1]
    assert (ours["mean"], ours["n"], ours["low"], ours["high"]) == (72.0, 3, 70.0, 75.0)
    assert ours["std"] == pytest.approx((14 / 3) ** 0.5)


def test_summary_keeps_the_order_in_which_networks_were_measured():
    table = tables.summary(rows("distilled", "Z", [1.0]), rows("distilled", "A", [2.0]), rows("whole", "Z", [3.0]))
    assert table[["set", "network"]].values.tolist() == [["distilled", "Z"], ["distilled", "A"], ["whole", "Z"]]
    assert table["std"].tolist() == [0.0, 0.0, 0.0]


def test_random_counts_draws_times_seeds():
    table = tables.summary(*(rows("random", "A", [d, d + 2.0], d) for d in range(3)))
    assert table.iloc[0]["n"] == 6
    assert table.iloc[0]["mean"] == 2.0
    assert table.iloc[0]["std"] == pytest.approx((10 / 6) ** 0.5)


def test_difference_and_its_standard_error():
    baseline = pd.concat([rows("random", "A", [40.0, 42.0], 0), rows("random", "A", [44.0, 46.0], 1)])
    line = tables.differences(rows("distilled", "A", [70.0, 72.0]), baseline).iloc[0]
    assert line["points"] == 28.0
    # sample variances: 2 over 2 runs; 8 over the 2 draws' means 41 and 45
    assert line["error"] == pytest.approx((2 / 2 + 8 / 2) ** 0.5)


def test_no_standard_error_from_one_draw():
    line = tables.differences(rows("distilled", "A", [70.0, 72.0]), rows("random", "A", [40.0, 42.0], 0)).iloc[0]
    assert line["points"] == 30.0
    assert np.isnan(line["error"])


def test_metrics_have_the_names_that_dvc_shows(plain):
    metrics = json.loads((plain / "reports/metrics.json").read_text())
    given = pd.read_csv(plain / "reports/evaluation/standard/rows.csv")
    ours = given[given["set"] == "distilled"]["accuracy"]
    control = given[given["set"] == "control"]["accuracy"]
    assert metrics["evaluate"]["standard"]["ConvNet"] == {
        "mean": round(ours.mean(), 2),
        "std": round(ours.std(ddof=0), 2),
    }
    assert metrics["evaluate"]["standard"]["control"]["ConvNet"]["mean"] == round(control.mean(), 2)
    assert set(metrics["baseline"]["standard"]) == {"random", "kmeans", "mean"}
    assert set(metrics["whole"]["ConvNet"]) == {"mean", "std"}
    assert metrics["teacher"]["main"]["ConvNet"] == {"mean": 97.83, "std": 0.5}
    assert metrics["distill"]["loss"] == pytest.approx(0.42, abs=0.2)
    assert json.dumps(metrics) == json.dumps(metrics, sort_keys=True)


def test_metrics_say_nothing_of_the_loss_of_a_method_that_selects(made):
    assert "distill" not in tables.metrics(reading.read(["standard"], ["main"], made))


@pytest.mark.parametrize("loss", ["", "inf"])  # as rows.csv has what is not a number, and what is infinite
def test_page_and_metrics_count_networks_that_diverged_and_leave_them_in_the_mean(made, loss):
    path = made / "reports/evaluation/standard/rows.csv"
    lines = path.read_text().splitlines()
    *before, _, _ = lines[2].split(",")
    path.write_text("\n".join([*lines[:2], ",".join([*before[:3], "10.0", "9.5", loss]), *lines[3:]]) + "\n")
    curves = made / "reports/evaluation/standard/curves.csv"
    curves.write_text(curves.read_text() + f"distilled,ConvNet,1,299,{loss}\n")
    found = reading.read(["standard"], ["main"], made)
    (ours,) = (line for line in tables.lines_of(tables.protocol(found, "standard")) if line.set == "distilled")
    assert (ours.n, ours.diverged, ours.low) == (3, 1, 10.0)
    assert tables.metrics(found)["evaluate"]["standard"]["ConvNet"]["diverged"] == 1
    assert "diverged" not in tables.metrics(found)["whole"]["ConvNet"]
    assert text(page.render(page.context(found))).count("n = 3 1 of them diverged") == 1


def test_page_prints_the_numbers_of_the_rows(plain):
    shown = text(html(plain))
    given = pd.read_csv(plain / "reports/evaluation/standard/rows.csv").query("set == 'distilled'")["accuracy"]
    random = pd.read_csv(plain / "reports/baseline/standard/rows.csv").query("set == 'random'")["accuracy"]
    whole = pd.read_csv(plain / "reports/whole/rows.csv")["accuracy"]
    assert f"{given.mean():.2f} ± {given.std(ddof=0):.2f} n = 3" in shown
    assert f"{random.mean():.2f} ± {random.std(ddof=0):.2f} n = 30" in shown
    assert (
        f"10 images (1 per class) train ConvNet to {given.mean():.1f} % ± {given.std(ddof=0):.1f} (n = 3) on digits; "
        f"ten random draws give {random.mean():.1f} %, the whole set {whole.mean():.1f} %."
    ) in shown
    assert "1.23 TFLOP" in shown
    assert "2,570,000" in shown
    assert "10 images, 10 draws" in shown
    assert "0.7 %" in shown  # of the 1,437 real images


def test_page_needs_nothing_else_and_tells_nothing_of_the_machine(plain):
    content = html(plain)
    assert "<script" not in content
    assert not re.findall(r"""(?:src|href|srcset)\s*=\s*["'](?!data:)""", content)
    assert not re.findall(r"https?://|@import|url\(", content)
    assert str(plain) not in content


def test_same_inputs_give_the_same_bytes(plain, monkeypatch):
    def snapshot():
        files = [plain / "reports/index.html", plain / "reports/metrics.json", *(plain / "reports/figures").iterdir()]
        return {f.name: f.read_bytes() for f in files}

    before = snapshot()
    monkeypatch.chdir(plain)
    monkeypatch.setattr(report.process, "begin", lambda: None)
    settings = dict(matplotlib.rcParams)
    matplotlib.rcParams["font.size"] = 20  # what a person's own settings say changes nothing
    try:
        assert guarded(report.run) == 0
        assert matplotlib.rcParams["font.size"] == 20
    finally:
        matplotlib.rcParams.update({"font.size": settings["font.size"]})
    assert snapshot() == before
    assert {"overview.png", "distilled.png", "accuracy_standard_ConvNet.png", "distill_loss.png"} < set(before)


def test_what_an_earlier_run_or_params_left_behind_is_ignored(made, monkeypatch):
    stale = made / "reports/figures/distill_loss.png"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"old")
    shutil.copytree(made / "reports/evaluation/standard", made / "reports/evaluation/old")
    (made / "models/teachers/old").mkdir()
    before = set(made.glob("*/*/old/*"))
    monkeypatch.chdir(made)
    monkeypatch.setattr(report.process, "begin", lambda: None)
    assert guarded(report.run) == 0
    assert not stale.exists()  # its own out
    assert set(made.glob("*/*/old/*")) == before and (made / "models/teachers/old").is_dir(), "nobody else's"
    assert not list(made.rglob("*.partial"))
    assert set(json.loads((made / "reports/metrics.json").read_text())["evaluate"]) == {"standard"}


def test_without_control_and_curve(made):
    shown = text(rendered(made))
    assert "dm selects images and minimises nothing" in shown
    assert "Control not run" in shown
    assert "relabelled" not in shown


def test_an_empty_curve_file_is_no_curve(made):
    for nothing in ("", "\n", "iteration,loss\n"):
        (made / "data/distilled/curve.csv").write_text(nothing)
        assert reading.read(["standard"], ["main"], made).curve.empty


def test_guidance_has_its_own_curve(made):
    (made / "data/distilled/curve.csv").write_text("iteration,loss,guidance\n1,2.0,\n2,1.5,0.7\n3,1.0,0.6\n")
    found = reading.read(["standard"], ["main"], made)
    assert {"distill_loss", "distill_guidance"} < set(figures.drawings(found))
    assert "Distillation: guidance" in text(page.render(page.context(found)))


def test_a_pool_of_features_has_neither_accuracy_nor_curve(made):
    folder = made / "models/teachers/foreign"
    kept = [{"name": "last", "epoch": 0, "accuracy": None}]
    info = {"pool": "foreign", "dataset": "digits", "objective": "imported", "precision": "fp32"}
    networks = [{"network": "resnet18", "index": 0, "parameters": 11_200_000, "kept": kept}]
    folder.mkdir()
    _json(folder / "pool.json", info | {"networks": networks, "settings": {"from": "torchvision", "sha256": None}})
    pd.DataFrame(columns=["network", "index", "epoch", "loss", "train_accuracy"]).to_csv(
        folder / "curves.csv", index=False
    )
    shown = text(rendered(made, pools=("main", "foreign")))
    assert "resnet18 last, epoch 0 11,200,000" in shown
    metrics = tables.metrics(reading.read(("standard",), ("main", "foreign"), made))
    assert metrics["teacher"]["foreign"] == {} and metrics["teacher"]["main"]


def test_a_self_supervised_pool_says_what_its_features_are_worth(made):
    path = made / "models/teachers/main/pool.json"
    info = json.loads(path.read_text())
    for i, network in enumerate(info["networks"]):
        network["knn"] = 60.0 + i
        network["kept"][0]["accuracy"] = None
    _json(path, info)
    shown = text(rendered(made))
    assert "Nearest neighbours, %" in shown and "301,000 – 60.50 ± 0.50 n = 2" in shown
    metrics = tables.metrics(reading.read(["standard"], ["main"], made))
    assert metrics["teacher"]["main"] == {"knn": {"ConvNet": {"mean": 60.5, "std": 0.5}}}


def test_batch_norms_of_all_pools_are_one_figure_each(made):
    found = reading.read(["standard"], ["main"], made)
    assert tables.norms(found.pools) is None and not any(name.startswith("norms") for name in figures.drawings(found))
    folder = made / "models/teachers/other"
    shutil.copytree(made / "models/teachers/main", folder)
    rows = [
        {"network": "ConvNetBN", "index": i, "checkpoint": "last", "layer": layer, "channel": c}
        | {"mean": (2 * c - 1) * layer, "variance": 1.0 + c * (i + 1)}
        for i in range(2)
        for layer in (1, 2)
        for c in range(2)
    ]
    _csv(folder / "norms.csv", rows)
    found = reading.read(["standard"], ["main", "other"], made)
    spreads = tables.norms(found.pools)
    assert spreads["layer"].tolist() == [1, 2] and set(spreads["pool"]) == {"other"}
    assert spreads["mean"].tolist() == [1.0, 2.0]
    assert spreads["variance"].tolist() == [0.75, 0.75]  # half of 1 and of 2
    assert {"norms_mean", "norms_variance"} < set(figures.drawings(found))
    assert "Batch norms" in text(page.render(page.context(found)))


def test_labels_by_a_teacher(made):
    path = made / "data/relabeled/info.json"
    info = json.loads(path.read_text())
    teacher = {"pool": "main", "networks": ["ConvNet", "VGG11"], "accuracy": 98.3, "agreement": 93.0}
    _json(path, info | {"kind": "probs", "labels": "soft", "teacher": teacher})
    shown = text(rendered(made))
    assert "pool main: ConvNet, VGG11" in shown
    assert "93.0 %" in shown


def test_a_hundred_classes_in_colour_show_ten(tmp_path):
    found = reading.read(
        ["standard"], ["main"], artefacts(tmp_path, classes=100, channels=3, control=False, curve=False)
    )
    context = page.context(found)
    assert len(context["classes"]) == 10
    assert context["extent"] == "Shown: 10 of 100 classes."
    assert figures.png(figures.drawings(found)["distilled"]).startswith(b"\x89PNG")


def test_several_networks_and_protocols(tmp_path):
    root = artefacts(tmp_path, ipc=12, networks=("ConvNet", "AlexNetBN"), protocols=("standard", "common"), curve=False)
    found = reading.read(["standard", "common"], ["main"], root)
    assert {"accuracy_common_AlexNetBN", "training_common"} < set(figures.drawings(found))
    metrics = tables.metrics(found)
    assert set(metrics["evaluate"]) == {"standard", "common"}
    assert set(metrics["evaluate"]["common"]) == {"ConvNet", "AlexNetBN", "control"}
    assert pictures.extent(found.images) == "Shown: the first 10 of 12 images of each."
    shown = text(page.render(page.context(found)))
    assert "120 images (12 per class) train ConvNet" in shown
    assert "Protocol common , hard labels" in shown


@pytest.mark.parametrize(
    "missing",
    [
        "params.yaml",
        "data/distilled/distilled.safetensors",
        "data/distilled/info.json",
        "data/relabeled/info.json",
        "models/teachers/main/pool.json",
        "reports/evaluation/standard/rows.csv",
        "reports/evaluation/standard/curves.csv",
        "reports/baseline/standard/info.json",
        "reports/whole/rows.csv",
    ],
)
def test_a_missing_artefact_is_one_sentence_and_nothing_is_written(made, monkeypatch, capsys, missing):
    (made / missing).unlink()
    monkeypatch.chdir(made)
    monkeypatch.setattr(report.process, "begin", lambda: None)
    assert guarded(report.run) == 2
    said = capsys.readouterr().err
    assert missing in said
    assert said.count("\n") == 1
    assert not (made / "reports/index.html").exists()


@pytest.mark.parametrize("content", [b"\xff\xfe\x00,\n", b"", b'a,b\n"1,2\n', b"a\n1,2\n1,2,3\n"])
def test_a_table_that_does_not_parse_is_one_sentence(made, content):
    path = made / "reports/evaluation/standard/rows.csv"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"rows\.csv (is no table \(.*\)|lacks the column \w+): run the stage") as caught:
        reading.read(["standard"], ["main"], made)
    assert "\n" not in str(caught.value)


def test_a_table_without_its_column_or_with_a_strange_set_is_refused(made):
    path = made / "reports/whole/rows.csv"
    path.write_text("set,network,seed\nwhole,ConvNet,0\n")
    with pytest.raises(BadInput, match="lacks the column accuracy"):
        reading.read(["standard"], ["main"], made)
    path.write_text("set,network,seed,accuracy,train_accuracy,loss\nhalf,ConvNet,0,1,1,1\n")
    with pytest.raises(BadInput, match="has the set half"):
        reading.read(["standard"], ["main"], made)


def test_names_are_escaped(made):
    path = made / "data/distilled/info.json"
    _json(path, json.loads(path.read_text()) | {"dataset": "<b>my & set</b>"})
    assert "&lt;b&gt;my &amp; set&lt;/b&gt;" in rendered(made)


def named(root, *classes):
    """Artefacts whose classes have names of somebody's data."""
    for folder in ("distilled", "relabeled"):
        path = root / "data" / folder / "distilled.safetensors"
        stored = DistilledSet.load(path)
        DistilledSet(stored.images, stored.labels, None, stored.space, stored.info | {"classes": list(classes)}).save(
            path
        )
    return reading.read(["standard"], ["main"], root)


def test_names_of_classes_never_end_the_last_stage(made, monkeypatch):
    named(made, "$5_$10", r"$\frac{$", "犬", "a\nb\tc", "\x1b[31m", "\udcff", "", "x" * 300, "<b>", "\u202eabc")
    monkeypatch.chdir(made)
    monkeypatch.setattr(report.process, "begin", lambda: None)
    assert guarded(report.run) == 0
    assert {"distilled.png", "overview.png"} <= {path.name for path in (made / "reports/figures").iterdir()}
    assert "<figcaption>$5_$10</figcaption>" in html(made) and "<figcaption>犬</figcaption>" in html(made)


@pytest.fixture
def font(tmp_path):
    """A font of one character, the outline of 犬 a square."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for point in ((0, 900), (900, 900), (900, 0)):
        pen.lineTo(point)
    pen.closePath()
    square = pen.glyph()
    builder = FontBuilder(1000)
    builder.setupGlyphOrder([".notdef", "dog"])
    builder.setupCharacterMap({ord("犬"): "dog"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "dog": square})
    builder.setupHorizontalMetrics({".notdef": (500, 0), "dog": (1000, 0)})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Square Sans", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "SquareSans.ttf")
    return str(tmp_path / "SquareSans.ttf")


def texts(figure):
    """Text to the file of its font, as the figure is written."""
    lettering.legible(figure)
    return {t.get_text(): t.get_fontproperties().get_file() for t in figure.findobj(matplotlib.text.Text)}


def test_a_name_is_drawn_in_a_font_that_has_its_characters_or_by_its_number(made, monkeypatch, font, tmp_path):
    broken = tmp_path / "Broken.ttf"
    broken.write_bytes(b"no font")
    found = named(made, "Щука", "犬", *"23456789")
    monkeypatch.setattr(lettering, "installed", lambda: [str(broken), font])
    with_font = texts(figures.images(figures.LIGHT, pictures.first_images(found.images)))
    assert with_font["Щука"] is None and with_font["犬"] == font
    monkeypatch.setattr(lettering, "installed", lambda: [str(broken)])
    without = texts(figures.images(figures.LIGHT, pictures.first_images(found.images)))
    assert without["#1"] is None and "犬" not in without


def test_other_text_that_no_font_has_is_a_question_mark_and_a_pool_of_any_name_is_in_the_legend(monkeypatch):
    monkeypatch.setattr(lettering, "installed", list)
    lines = {"network": "ConvNetBN", "layer": [1, 2], "mean": [1.0, 2.0]}
    spreads = pd.concat([pd.DataFrame({"pool": pool, **lines}) for pool in ("_own", "犬1")])
    assert {"_own: ConvNetBN", "?1: ConvNetBN"} < set(texts(figures.norms(figures.LIGHT, spreads, "mean")))


def test_labels_fit_their_images(monkeypatch, font):
    monkeypatch.setattr(lettering, "installed", lambda: [font])
    assert lettering.label("a" * 8, "") == "a" * 8 and lettering.label("a" * 9, "") == "a" * 7 + "…"
    assert lettering.label("犬" * 4, "") == "犬" * 4 and lettering.label("犬" * 5, "") == "犬" * 3 + "…"
    assert lettering.label("a\u0301" * 8, "") == "a\u0301" * 8  # an accent takes no room
    assert lettering.label("a\nb\udcff", "") == "a b\N{REPLACEMENT CHARACTER}"


def test_settings_are_listed_flat_however_deep(made):
    path = made / "data/relabeled/info.json"
    _json(
        path,
        json.loads(path.read_text()) | {"settings": {"kind": "probs", "probs": {"temperature": 1.5, "pick": None}}},
    )
    listed = dict(page.context(reading.read(["standard"], ["main"], made))["parameters"])["relabel"]
    assert listed == [("kind", "probs"), ("probs.pick", "–"), ("probs.temperature", "1.5")]


def test_a_published_checkpoint_rule_is_marked(made):
    path = made / "reports/evaluation/standard/info.json"
    _json(path, json.loads(path.read_text()) | {"checkpoint": "best_test"})
    shown = text(rendered(made))
    assert "best epoch on the test set itself" in shown
    assert "No epoch was chosen" not in shown


def test_pixels_are_repeated_and_clamped_only_for_viewing(made):
    images = reading.read(["standard"], ["main"], made).images
    loud = DistilledSet(images.images * 3, images.labels, None, images.space, images.info)
    shown = pictures.first_images(loud)
    raw = loud.space.decode(loud.images)[3, 0].clamp(0, 1).mul(255).round().numpy()
    assert (shown[3].images[0] == raw[..., None]).all()
    canvas, names = pictures.canvas(shown, side=16)
    gap, head = 16 // 12, 16 * 3 // 8
    assert canvas.shape == (2 * (head + 16 + 2 * gap) - gap, 5 * (16 + gap) - gap, 4)
    assert (canvas[head : head + 16, 3 * (16 + gap) :, 0][:, :16] == raw.repeat(2, 0).repeat(2, 1)).all()
    assert [name for name, *_ in names] == [str(c) for c in range(10)]


def assessed(root, pool="main", models=("A/0/last", "A/1/last")):
    """An assessment of three sets under ``models``: no features, one image a class."""
    rows = []
    for i, name in enumerate(("distilled", "control", "random")):
        rows.append({"set": name, "assessment": "outside", "model": "", "value": 12.5 - i})
        rows.append({"set": name, "assessment": "pixel_diversity", "model": "", "value": None})
        for k, model in enumerate(models):
            rows.append({"set": name, "assessment": "accuracy", "model": model, "value": 90.0 - 10 * i + 4 * k})
            rows.append({"set": name, "assessment": "feature_distance", "model": model, "value": None})
    _csv(root / "reports/assessment" / pool / "rows.csv", rows)
    _json(root / "reports/assessment" / pool / "info.json", {"pool": pool, "settings": {"fresh": 5}})
    return reading.read(["standard"], ["main"], root, assessed=[pool])


def test_assessments_are_a_table_and_the_distilled_sets_are_metrics(made):
    found = assessed(made)
    shown = text(page.render(page.context(found)))
    assert "Under the pool main" in shown and "distilled random, relabelled random images" in shown
    assert "92 ± 2 n = 2 82 ± 2 n = 2 72 ± 2 n = 2" in shown
    assert "where no real pixel is 12.5 11.5 10.5" in shown  # of the images alone: no n
    assert "features (DM) – – –" in shown and "pixels, raw – – –" in shown
    assert tables.metrics(found)["assess"] == {"main": {"accuracy": 92.0, "outside": 12.5}}
    assert ("fresh", "5") in dict(page.context(found)["parameters"])["assess, main"]


def test_a_pool_that_guided_is_no_judge_and_the_page_says_so(made):
    path = made / "data/distilled/info.json"
    info = json.loads(path.read_text())
    for alpha, teacher, said in (
        *((0.0, "main", False), ({"A": 0.0}, "main", False)),
        *((10.0, "main", True), ({"A": 0.0, "B": 1.0}, "main", True), ({"A": 1.0}, "other", False)),
    ):
        settings = info["settings"] | {"guidance": {"teacher": teacher}}
        _json(path, info | {"alpha": alpha, "settings": settings})
        found = assessed(made)
        shown = page.render(page.context(found))
        assert ("This pool guided the distillation" in shown) == said
        assert ("guidance α" in shown) == (said or teacher == "other")


def test_without_assessments_nothing_of_them_is_said(made):
    found = reading.read(["standard"], ["main"], made)
    assert "Assessments" not in rendered(made)
    assert "assess" not in tables.metrics(found)


def best_of_tests(root):
    """Students that were also tested every 50 epochs."""
    paths = ["evaluation/standard", "baseline/standard", "whole"]
    for folder in paths:
        table = pd.read_csv(root / "reports" / folder / "rows.csv")
        table.assign(best_test=table["accuracy"] + 5).to_csv(root / "reports" / folder / "rows.csv", index=False)
    info = json.loads((root / "reports/evaluation/standard/info.json").read_text())
    _json(root / "reports/evaluation/standard/info.json", info | {"test_every": 50})


def test_the_best_of_tests_stands_beside_the_last_epoch_and_is_marked(made):
    before = tables.metrics(reading.read(["standard"], ["main"], made))
    assert "chosen on the test set" not in rendered(made)
    best_of_tests(made)
    found = reading.read(["standard"], ["main"], made)
    after = tables.metrics(found)
    best = after["evaluate"]["standard"].pop("best_test")
    assert after == before  # the last epoch's figures are what they were
    ours = before["evaluate"]["standard"]["ConvNet"]
    assert best == {"ConvNet": {"mean": round(ours["mean"] + 5, 2), "std": ours["std"]}}
    shown = text(page.render(page.context(found)))
    assert "chosen on the test set" in shown and "tested every 50 epochs" in shown and "optimistic" in shown
    assert shown.index(f"{ours['mean']:.2f} ±") < shown.index(f"{best['ConvNet']['mean']:.2f} ±")


def test_skipped_files_are_named_and_each_dataset_once(made):
    assert "Skipped files" not in rendered(made)
    faults = {f"train/a/{n:02}.png": "does not decode as an image (it is empty)" for n in range(12)}
    for path in ("reports/whole/info.json", "models/teachers/main/pool.json"):
        _json(made / path, json.loads((made / path).read_text()) | {"skipped": faults})
    other = made / "models/teachers/other"
    shutil.copytree(made / "models/teachers/main", other)
    info = json.loads((other / "pool.json").read_text())
    _json(other / "pool.json", info | {"dataset": "imagefolder", "skipped": {"<b>.png": "is no regular file"}})
    page_ = rendered(made, pools=("main", "other"))
    shown = text(page_)
    assert "dataset digits: 12 faulty files train/a/00.png does not decode as an image (it is empty)" in shown
    assert "train/a/09.png" in shown and "train/a/10.png" not in shown and "and more 2 files" in shown
    assert "imagefolder, source of the pool other: 1 faulty file &lt;b&gt;.png is no regular file" in shown
    assert shown.count("12 faulty files") == 1
