"""Recipes: every row applies and passes the check at both scales, claims are the published ones, nothing is queued twice."""

import copy
import csv
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from distillation import checks
from distillation import params as parameters
from distillation.commands import compare, recipes
from distillation.compare import claims
from distillation.datasets.catalogue import CATALOGUE, facts
from distillation.networks.build import flops
from distillation.recipes import cost, overlay, queueing, rows
from distillation.recipes.measured import Measurement, matches, measurement_of, of_row, z_score
from distillation.recipes.results import Result, flat
from distillation.runtime.errors import BadInput, guarded

ROOT = Path(__file__).resolve().parents[1]
BASE = parameters.load(ROOT / "params.yaml").values
SETTINGS = {"published": lambda row: row.settings, "quick": lambda row: overlay.quick(row.settings)}


def of(row, scale):
    return overlay.applied(BASE, SETTINGS[scale](row))


@pytest.mark.parametrize("scale", SETTINGS)
@pytest.mark.parametrize("name", rows.names())
def test_every_row_passes_the_check(name, scale):
    for row in rows.rows(name):
        checks.check_all(parameters.Params(of(row, scale)))


@pytest.mark.parametrize("name", rows.names())
def test_every_row_is_complete_and_its_name_unique(name):
    published = rows.scales()["published"]
    for row in rows.rows(name):
        strange = [path for path in row.settings if path not in published and not path.startswith("teacher.")]
        assert not strange, f"{row.name} sets {strange}, to which no other row gives a value: scales.yaml should"
        assert len(row.claims) <= len(row.settings["evaluate.networks"])
    assert len({row.name for row in rows.rows(name)}) == len(rows.rows(name))


def test_what_the_default_sizes_for_digits_a_row_sizes_as_published():
    for path, (_, published) in checks.SIZED_FOR_DIGITS.items():
        default = path.replace("teacher.main.supervised", "objectives.supervised")
        assert rows.scales()["published"][default] == published, path


def test_the_weights_of_clom_are_those_of_its_table():
    with open(rows.FOLDER / rows.CLAIMS, encoding="utf-8", newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["table"] == "repo weight table"]
    names = {"FashionMNIST": "fashionmnist", "CIFAR10": "cifar10", "CIFAR100": "cifar100"}
    for line in lines:
        method = line["method"].partition("+")[0].lower()
        row = rows.find(f"clom/{method}-clom-{names[line['dataset']]}-{line['ipc']}")
        assert row.settings["method.alpha"] == float(line["mean"]), row.name
        assert row.claims == {}
    assert len(lines) == 18


@pytest.mark.parametrize(
    ("name", "mean", "std", "over"),
    [
        ("matching/dc-cifar10-10", 44.9, 0.5, (5, 20)),
        ("matching/dsa-cifar100-50", 42.8, 0.4, (5, 20)),
        ("matching/dm-tinyimagenet-10", 12.9, 0.4, (5, 20)),
        ("matching/dm-fashionmnist-1", 71.5, 0.5, (None, None)),
        ("apm-shards/cifar10-10", 83.3, None, (None, None)),
        ("scdd/scdd-cifar100-50", 53.4, 1.1, (None, None)),
        ("mtt/cifar10-10", 65.3, 0.7, (None, None)),
        ("mtt/cifar100-50", 47.7, 0.2, (None, None)),
        ("mtt/tinyimagenet-10", 23.2, 0.2, (None, None)),
        ("scdd/cda-tinyimagenet-100", 53.2, None, (None, None)),
    ],
)
def test_claims_are_joined_from_the_table(name, mean, std, over):
    (claim,) = rows.find(name).claims.values()
    assert (claim.mean, claim.std, (claim.sets, claim.networks)) == (mean, std, over)
    assert claim.source


def test_a_filter_that_several_lines_answer_is_refused():
    with pytest.raises(BadInput, match="one should be meant"):
        rows._line({"paper": "DC (ICLR21)", "table": "1", "method": "DC"})


def test_a_pool_keeps_nothing_that_a_row_does_not_name_but_arithmetic():
    held, row = copy.deepcopy(BASE), rows.find("krr-transfer/krr_st-cifar100")
    held["teacher"]["main"] |= {"seed": 7, "precision": "bf16", "barlow_twins": {"dim": 64, "probe": None}}
    held["objectives"]["barlow_twins"] |= {"probe": None, "epochs": 3}
    values = overlay.applied(held, row.settings)
    clean, main = of(row, "published"), values["teacher"].pop("main")
    assert main == clean["teacher"].pop("main") | {"precision": "bf16"}
    assert values == clean


@pytest.mark.parametrize(
    "name", ["scdd/scdd-cifar100-50", "krr-transfer/krr_st-cifar100", "krr-kd/dsa", "clom/dc-clom-cifar10-10"]
)
def test_a_result_is_recognised_wherever_a_value_of_a_pool_stands(name):
    row = rows.find(name)
    wanted, values = flat(row.settings), of(row, "published")
    for pool in values["teacher"].values():
        pool |= {**values["pool"], **pool, pool["objective"]: values["objectives"][pool["objective"]]}
    values["pool"] |= {"count": 9, "seed": 9, "keep": [9]}
    values["objectives"] = {key: {"epochs": 9} for key in values["objectives"]}
    assert matches(wanted, flat(values))


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"teacher.main.supervised.lr": 0.01}, True),  # as published
        ({"teacher.main.precision": "bf16", "pool.compile": True}, True),  # arithmetic is anybody's own
        ({"teacher.main.moco_v2.lr": 5.0, "objectives.dino.lr": 5.0}, True),  # of no pool's objective
        ({"teacher.main.supervised.lr": 0.02}, False),
        ({"objectives.supervised.lr": 0.02}, False),
        ({"teacher.main.seed": 1}, False),
        ({"pool.keep": ["best"]}, False),
        (
            {"teacher.more.source": "dataset", "teacher.more.objective": "imported", "teacher.more.networks": ["A"]},
            False,
        ),
        ({"teacher.main.objective": "nope"}, False),
    ],
)
def test_a_result_whose_pool_amounts_to_something_else_is_not_that_row(change, same):
    row = rows.find("matching/dc-cifar10-10")
    assert matches(flat(row.settings), flat(of(row, "published")) | change) == same


def test_a_result_of_params_without_objectives_is_no_row():
    row = rows.find("matching/dc-cifar10-10")
    params = {path: value for path, value in flat(of(row, "published")).items() if not path.startswith("objectives.")}
    assert not matches(flat(row.settings), params)


def test_a_probe_that_a_result_does_without_is_another_setting():
    row = rows.find("scdd/scdd-cifar100-50")
    found = flat(of(row, "published"))
    assert matches(flat(row.settings), found)
    assert not matches(flat(row.settings), found | {"teacher.main.moco_v2.probe": None})


def test_rows_start_from_the_same_values_whatever_params_yaml_held():
    first = of(rows.find("clom-contrastive/cifar100-cos"), "published")
    assert "ood" in first["sources"] and "ood" in first["teacher"]
    row = rows.find("apm/cifar10-50")
    again = overlay.applied(first, row.settings)
    wanted = flat(row.settings)
    assert again["sources"] == {} and list(again["teacher"]) == ["main"]
    assert matches(wanted, flat(again)) and not matches(wanted, flat(first))


@pytest.mark.parametrize(
    "name",
    [
        "clom-contrastive/cifar100-cos",
        "clom-pool/dsa",
        "apm/cifar10-1000",
        "matching/dc-mnist-1",
        "scdd/cda-tinyimagenet-50",
        "krr-transfer/krr_st-imagenet64",
    ],
)
def test_the_overrides_lead_to_the_row_and_back(name):
    wanted = of(rows.find(name), "published")
    for start, end in ((BASE, wanted), (wanted, BASE)):
        assert overridden(start, overlay.flags(start, end)) == end
    assert overlay.flags(wanted, wanted) == []


def overridden(values, flags):
    """What DVC makes of ``-S`` overrides."""
    file = Path("overridden.yaml").absolute()
    file.write_text(overlay.text(ROOT.joinpath("params.yaml").read_text(), values))
    apply_overrides(file, flags)
    return parameters.parse(file.read_text())


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recipes.process, "begin", lambda: None)


def test_use_writes_the_row_and_keeps_comments_and_what_no_recipe_names():
    before = (ROOT / "params.yaml").read_text().replace("workers: auto ", "workers: 7 ")
    Path("params.yaml").write_text(before)
    recipes.use("clom/dc-clom-cifar10-10", "published", 3)
    after = Path("params.yaml").read_text()
    values = parameters.parse(after)
    assert values["method"]["alpha"] == 1000.0 and values["method"]["seed"] == 3 and values["compute"]["workers"] == 7
    lost = before.count("#") - after.count("#")
    assert lost == 6, (
        "those beside what suits digits: entries of two lists, and what main has instead of the objective's"
    )
    assert after.count("\n\n") == before.count("\n\n")
    changed = {line for line in before.splitlines() if line not in after.splitlines()}
    assert len(changed) < 30 and not any("lr_img" in line for line in changed)
    recipes.use("matching/dc-mnist-1", "quick", 0)
    assert parameters.load().values["teacher"]["main"].keys() == {"source", "objective", "networks"}
    assert "\n\npool: " in Path("params.yaml").read_text()


def result(row, seed, mean, std=0.5, scale="published", **more):
    settings = SETTINGS[scale](row) | {"method.seed": seed}
    (network,) = settings["evaluate.networks"]
    metrics = {f"evaluate.standard.{network}.mean": mean, f"evaluate.standard.{network}.std": std}
    return Result(f"s{seed}", flat(overlay.applied(BASE, settings)), metrics, **more)


def test_results_are_recognised_by_their_settings():
    row, other = rows.find("matching/dc-cifar10-10"), rows.find("matching/dc-cifar10-50")
    found = of_row(row, [result(other, 0, 1.0), result(row, 0, 2.0), result(row, 1, 3.0), result(row, 1, 9.0)])
    assert {seed: each.metrics["evaluate.standard.ConvNet.mean"] for seed, each in found["published"].items()} == {
        0: 2,
        1: 3,
    }
    assert of_row(row, [result(row, 0, 2.0, scale="quick")]).keys() == {"quick"}
    assert of_row(row, [result(row, 0, 2.0, reproduced=False)]) == {}
    plain = rows.find("clom/dc-plain-cifar10-10")
    assert of_row(plain, [result(row, 0, 2.0)]), "the same settings measure the rows of two tables"


@pytest.mark.parametrize(
    "change", [{"method.dsa.lr_img": 50.0}, {"evaluate.standard.hard.lr": 0.5}, {"method.augment": "none"}]
)
def test_a_row_with_another_setting_is_not_that_row(change):
    row = rows.find("matching/dsa-cifar10-10")
    made = result(row, 0, 2.0)
    assert of_row(row, [made])
    assert of_row(row, [replace(made, params=made.params | change)]) == {}


def test_metrics_of_other_settings_do_not_measure_a_row():
    row = rows.find("matching/dc-cifar10-10")
    assert of_row(row, [replace(result(row, 0, 2.0), metrics={"evaluate.standard.ConvNetD2W64NN.mean": 80.0})]) == {}


def test_spreads_are_told_apart():
    row = rows.find("matching/dc-cifar10-10")
    found = measurement_of([result(row, 0, 40.0, 1.0), result(row, 1, 44.0, 1.0)], "evaluate.standard.ConvNet")
    within = 1.0 * 20 / 19  # the unbiased variance of 20 networks
    assert (found.mean, found.sets, found.networks) == (42.0, 2, 20)
    assert found.between_networks**2 == pytest.approx(within)
    assert found.between_sets**2 == pytest.approx(8.0 - within / 20)
    single = measurement_of([result(row, 0, 40.0)], "evaluate.standard.ConvNet")
    assert single.between_sets is None and measurement_of([result(row, 0, 1.0)], "nope") is None


def test_z_is_the_difference_in_standard_errors_or_blank():
    claim = next(iter(rows.find("matching/dc-cifar10-10").claims.values()))
    found = Measurement(45.9, 5, 20, 0.3, 0.4)
    theirs = 0.5**2 * (0.36 / 5 + 0.64 / 100)
    ours = 0.3**2 / 5 + 0.4**2 / 100
    assert z_score(claim, found) == pytest.approx(1.0 / (theirs + ours) ** 0.5)
    assert z_score(claim, Measurement(45.9, 1, 20, None, 0.4)) is None
    unstated = next(iter(rows.find("matching/dm-fashionmnist-1").claims.values()))
    assert z_score(unstated, found) is None


def test_the_section_shows_what_is_measured_and_keeps_every_row():
    row = rows.find("matching/dc-cifar10-10")
    quick = rows.find("apm/cifar10-50")
    content = claims.section([result(row, 0, 44.0), result(row, 1, 45.0), result(quick, 0, 30.0, scale="quick")])
    shown = content.shown.set_index("row")
    assert shown.loc[row.name, "claimed"] == "44.9 ± 0.5" and shown.loc[row.name, "difference"] == "−0.40"
    assert shown.loc[row.name, "z"].startswith("−") and shown.loc[row.name, "over"] == "2 × 20"
    assert list(shown.loc[f"{quick.name} (quick)", ["claimed", "difference", "z"]]) == ["75.1", "", ""]
    assert set(content.values["row"]) == {each.name for each in rows.every()}
    assert claims.section([]).shown.empty


def test_a_claim_that_was_chosen_on_the_test_set_is_marked_beside_what_is_measured(capsys):
    row, other = rows.find("mtt/cifar10-50"), rows.find("matching/dc-cifar10-10")
    content = claims.section([result(row, 0, 70.0), result(other, 0, 44.0)])
    shown = content.shown.set_index("row")["claimed"]
    assert shown[row.name] == "71.6 ± 0.2 (best on test)" and shown[other.name] == "44.9 ± 0.5"
    assert content.values.set_index("row")["claimed_best_test"][row.name]
    assert "marked (best on test) was chosen on the test set" in content.note
    recipes.listing("mtt")
    assert capsys.readouterr().out.count("(best on test)") == len(rows.rows("mtt"))


def test_mtt_whitens_where_its_table_says_so_and_else_normalises_as_its_code():
    found = {row.name: (row.settings["dataset.zca"], row.settings["dataset.stats"]) for row in rows.rows("mtt")}
    assert [name for name, (zca, _) in found.items() if not zca] == [
        "mtt/cifar10-50",
        "mtt/cifar100-10",
        "mtt/tinyimagenet-10",
    ]
    assert {name for name, (_, stats) in found.items() if stats != "published"} == {"mtt/cifar100-10"}
    assert found["mtt/cifar100-10"][1] == "cifar10"


def test_one_result_alone_is_held_against_its_claim(monkeypatch, tmp_path, capsys):
    row = rows.find("matching/dc-cifar10-10")
    monkeypatch.setattr(compare.results, "read", lambda names, every: [result(row, 0, 44.0)])
    assert guarded(compare.run, [], False, None, str(tmp_path)) == 0
    assert "−0.90" in capsys.readouterr().out


def test_rows_of_transfer_are_measured_target_by_target():
    row = rows.find("krr-transfer/krr_st-cifar100")
    paths = rows.metrics(row.recipe, row.settings)
    targets = ("cifar100", "cifar10", "aircraft", "flowers", "cub", "dogs")
    assert paths == [f"transfer.{t}.finetune.distilled.ConvNetW128-256-512BN" for t in targets]
    assert len(rows.metrics(row.recipe, overlay.quick(row.settings))) == 6


CIFAR10 = "cifar10"
TINY_SRE2L = {"mean": [0.4802, 0.4481, 0.3975], "std": [0.2302, 0.2265, 0.2262]}
KRR_ST = {  # by dataset and pixels
    ("cifar10", 32): {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2470, 0.2435, 0.2616]},
    ("cifar10", 64): {"mean": [0.4914, 0.4821, 0.4465], "std": [0.2469, 0.2433, 0.2614]},
    ("cifar100", 64): {"mean": [0.5070, 0.4865, 0.4409], "std": [0.2671, 0.2562, 0.2760]},
    ("tinyimagenet", 64): {"mean": [0.4802, 0.4481, 0.3975], "std": [0.2770, 0.2691, 0.2821]},
    ("imagenet64", 64): {"mean": [0.4810, 0.4574, 0.4078], "std": [0.2633, 0.2560, 0.2708]},
}


@pytest.mark.parametrize(
    ("recipe", "method", "dataset", "stats"),
    [
        ("scdd", None, "cifar100", CIFAR10),
        ("scdd", None, "tinyimagenet", TINY_SRE2L),
        ("scdd-objectives", None, "cifar100", CIFAR10),
        ("mtt", None, "tinyimagenet", "published"),
        ("krr-transfer", "mtt", "cifar100", CIFAR10),
        ("krr-transfer", "mtt", "tinyimagenet", "published"),
        ("krr-transfer", "dsa", "tinyimagenet", "published"),
        ("krr-transfer", "krr_st", "cifar100", "published"),
        ("krr-transfer", "krr_st", "tinyimagenet", KRR_ST["tinyimagenet", 64]),
        ("krr-transfer", "krr_st", "imagenet64", KRR_ST["imagenet64", 64]),
        ("krr-kd", "krr_st", "tinyimagenet", KRR_ST["tinyimagenet", 64]),
        ("krr-kd", "mtt", "tinyimagenet", "published"),
        ("matching", None, "cifar100", "published"),
        ("clom", None, "cifar100", "published"),
    ],
)
def test_a_row_normalises_as_the_code_of_its_paper(recipe, method, dataset, stats):
    found = [
        row.settings["dataset.stats"]
        for row in rows.rows(recipe)
        if row.settings["dataset.name"] == dataset and method in (None, row.settings["method.name"])
    ]
    assert found and all(each == stats for each in found)


@pytest.mark.parametrize("recipe", ["krr-transfer", "krr-kd"])
def test_targets_are_normalised_as_in_the_code_of_krr_st(recipe):
    for row in rows.rows(recipe):
        size = {"cifar100": 32}.get(row.settings["dataset.name"], 64)
        for entry in row.settings["targets"].values():
            assert entry.get("stats", "published") == KRR_ST.get((entry["name"], size), "published")


def test_fine_grained_targets_have_published_statistics_at_the_size_of_their_source():
    for row in rows.rows("krr-transfer"):
        sizes = {entry["pixels"] for entry in row.settings["targets"].values()}
        assert sizes == ({32} if row.settings["dataset.name"] == "cifar100" else {64})
        assert all(CATALOGUE[entry["name"]].statistics(entry["pixels"]) for entry in row.settings["targets"].values())


@pytest.mark.parametrize(("dataset", "mode"), [("cifar100", "train"), ("tinyimagenet", "eval")])
def test_teachers_that_answer_batches_norm_as_in_the_code_of_the_dataset(dataset, mode):
    found = {
        row.settings["relabel.online.mode"] for row in rows.rows("scdd") if row.settings["dataset.name"] == dataset
    }
    assert found == {mode}


# SRe2L's squeeze_cifar.py; the script train_rn18.sh that SRe2L names for Tiny-ImageNet.
CIFAR = {"epochs": 200, "batch": 128, "lr": 0.1, "weight_decay": 0.0005, "warmup": 0, "augment": "crop_flip"}
TINY = {"epochs": 50, "batch": 256, "lr": 0.2, "weight_decay": 0.0001, "warmup": 5, "augment": "rrc", "crop": 0.08}


@pytest.mark.parametrize("row", [*rows.rows("scdd"), *rows.rows("scdd-objectives")], ids=lambda row: row.name)
def test_recovery_squeezes_and_stores_images_as_in_the_code_of_its_dataset(row):
    published = {"cifar100": CIFAR, "tinyimagenet": TINY}[row.settings["dataset.name"]]
    for key, value in {**published, "momentum": 0.9, "schedule": "cosine"}.items():
        assert row.settings[f"objectives.supervised.{key}"] == value, key
    assert row.settings["relabel.pixels"] == "jpeg"
    assert {row.settings["relabel.pixels"] for row in rows.rows("apm")} == {"float"}


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("krr-transfer/frepo-cifar100", 10_000),
        ("krr-transfer/frepo-tinyimagenet", 40_000),
        ("krr-transfer/frepo-imagenet64", 10_000),
        ("krr-kd/frepo", 40_000),
        ("krr-kd/frepo-mobilenet", 40_000),
        ("krr-architectures/frepo", 40_000),
    ],
)
def test_sets_of_soft_labels_are_learnt_as_long_as_their_source_is_in_the_code(name, steps):
    assert rows.find(name).settings["evaluate.pretrain.soft.steps"] == steps


@pytest.mark.parametrize(("recipe", "batch"), [("krr-kd", 128), ("krr-architectures", 256)])
def test_mobilenet_learns_soft_labels_in_the_batches_of_the_code_and_others_in_500(recipe, batch):
    other, mobile = (rows.find(f"{recipe}/{name}").settings for name in ("frepo", "frepo-mobilenet"))
    assert (other["evaluate.pretrain.soft.batch"], mobile["evaluate.pretrain.soft.batch"]) == (500, batch)
    assert mobile["evaluate.networks"] == ["MobileNetV2"] and "MobileNetV2" not in other["evaluate.networks"]
    apart = {"evaluate.pretrain.soft.batch", "evaluate.networks"}
    assert {key for key in other if other[key] != mobile[key]} == apart  # one set, distilled once


def test_figure_3_has_four_networks_and_all_methods_on_fine_grained_targets():
    measured = {}
    for row in rows.rows("krr-architectures"):
        measured.setdefault(row.settings["method.name"], []).extend(rows.metrics(row.recipe, row.settings))
    networks, targets = (
        ("VGG11BN", "AlexNetBN", "MobileNetV2", "ResNet10BN_P2_He"),
        ("aircraft", "flowers", "cub", "dogs"),
    )
    paths = {f"transfer.{target}.finetune.distilled.{network}" for target in targets for network in networks}
    assert set(measured) == {"krr_st", "dsa", "dm", "mtt", "frepo"}
    assert all(len(found) == len(paths) and set(found) == paths for found in measured.values())
    assert not any(row.claims for row in rows.rows("krr-architectures"))  # no source has the figure's numbers


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("scdd", "give 0.005 as the rate"),
        ("scdd", "1,000 iterations, its script has 4,000"),
        ("scdd-objectives", "give 0.005 as the rate"),
        ("krr-kd", "no source gives; here it is trained as CLoM"),
        ("krr-architectures", "Cars is left out"),
    ],
)
def test_what_no_source_settles_is_said_with_the_recipe(recipe, words):
    assert words in rows.load(recipe).unknown


def test_where_sources_disagree_a_row_has_what_is_said_to_stand():
    settings = rows.find("scdd/scdd-cifar100-50").settings
    assert settings["evaluate.standard.online.lr"] == 0.001
    assert rows.find("scdd/sre2l-tinyimagenet-50").settings["method.sre2l.iterations"] == 4000
    kd = of(rows.find("krr-kd/dm"), "published")["objectives"]["supervised"]
    assert (kd["epochs"], kd["weight_decay"], kd["augment"]) == (150, 0.005, "none")


def test_the_pool_of_frepo_learns_from_as_many_images_as_its_published_code_with_lamb_has_it():
    frepo = of(rows.find("krr-transfer/frepo-tinyimagenet"), "published")["method"]["frepo"]
    assert (frepo["optimizer"], frepo["batch_syn"]) == ("lamb", 1000)


def test_a_batch_of_kip_is_5000_images_in_all():
    row = rows.find("krr-transfer/kip-cifar100")
    assert row.settings["method.kip.batch_real"] * facts(row.settings["dataset.name"]).classes == 5000


def test_finished_sets_are_skipped_and_five_sets_are_five_seeds(monkeypatch):
    row = rows.find("matching/dc-cifar10-10")
    monkeypatch.setattr(
        queueing.results, "read", lambda every: [result(row, 1, 44.0), result(row, 0, 1.0, scale="quick")]
    )
    assert [seed for _, seed in queueing.missing([row], "published", None)] == [0, 2, 3, 4]
    assert [seed for _, seed in queueing.missing([row], "quick", 2)] == [1]


def test_names_of_experiments_are_references():
    for row in rows.every():
        name = queueing.experiment(row, "quick", 0)
        assert subprocess.run(["git", "check-ref-format", f"refs/exps/{name}"], check=False).returncode == 0, name


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nope", "'nope' is no recipe; there are apm, "),
        ("aps", "'aps' is no recipe; near it are apm"),
        ("clom/dc-clom-cifar10-11", "is no row; near it are clom/dc-clom-cifar10-10"),
        (
            "apm/imagenet64-10",
            "apm/imagenet64-10 needs imagenet64, which is not there: Imagenet64_train_part1_npz.zip has to",
        ),
    ],
)
def test_what_is_not_there_is_one_sentence(name, sentence, monkeypatch, capsys):
    monkeypatch.delenv("DD_MIRROR", raising=False)
    before = (ROOT / "params.yaml").read_text()
    Path("params.yaml").write_text(before)
    assert guarded(recipes.use, name, "published", 0) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and sentence in said and said.count("\n") == 1
    assert Path("params.yaml").read_text() == before


@pytest.mark.parametrize("sets", ["0", "-2", "two", "1.5"])
def test_sets_are_at_least_one(sets, capsys):
    with pytest.raises(SystemExit, match="2"):
        recipes._parser().parse_args(["queue", "matching", f"--sets={sets}"])
    assert f"--sets: {sets!r} is no whole number of at least 1" in capsys.readouterr().err
    assert recipes._parser().parse_args(["queue", "matching", "--sets=3"]).sets == 3


def test_costs_grow_with_what_is_asked():
    def of_row_named(name):
        return cost.estimate(parameters.Params(of(rows.find(name), "published")))

    small, large = of_row_named("matching/dm-cifar10-1"), of_row_named("matching/dm-cifar10-50")
    assert large["distill"] > small["distill"] and large["evaluate"] == pytest.approx(50 * small["evaluate"])
    assert of_row_named("matching/random-cifar10-1").keys() == {"teacher main", "evaluate", "baseline", "whole"}
    assert of_row_named("apm/cifar10-50")["teacher main"] > 50 * small["teacher main"]
    assert of_row_named("scdd/sre2l-cifar100-50")["distill"] < of_row_named("krr-transfer/krr_st-cifar100")["distill"]
    experts, ours = of_row_named("krr-transfer/mtt-cifar100"), flops("ConvNet", 3, 32, 100) / 1e9
    assert experts["teacher main"] == pytest.approx(100 * 50 * 50_000 * 3 * ours)  # an expert sees each once an epoch
    assert experts["distill"] == pytest.approx(5000 * 20 * 1000 * 10 * ours)


@pytest.mark.parametrize("method", ["krr_st", "dsa", "dm", "mtt", "frepo", "kip"])
def test_what_is_not_estimated_is_said(method, capsys):
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
    recipes.show(f"krr-transfer/{method}-cifar100", "published", 0)
    said = capsys.readouterr().out
    assert "  distill  " in said and "\nNot estimated: transfer and the pre-training before.\n" in said
    recipes.show("matching/dc-mnist-1", "published", 0)
    assert "Not estimated" not in capsys.readouterr().out


def test_what_only_files_can_count_is_not_estimated():
    values = of(rows.find("matching/dm-cifar10-1"), "published")
    values["sources"] = {"mine": {"name": "imagefolder", "archive": "a.zip"}}
    values["teacher"]["other"] = {**values["teacher"]["main"], "source": "sources/mine"}
    params = parameters.Params(values)
    assert {"teacher main", "distill"} <= cost.estimate(params).keys() and "teacher other" not in cost.estimate(params)
    assert cost.left_out(params) == ["what reads sources/mine, since only its files tell how many images it has"]
    values["dataset"] = {**values["dataset"], "name": "imagefolder", "archive": "a.zip"}
    assert cost.estimate(parameters.Params(values)) == {}
    assert [phrase.split()[2].strip(",") for phrase in cost.left_out(params)] == ["dataset", "sources/mine"]


def test_lists_and_details_are_printed(capsys):
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
    recipes.listing()
    recipes.listing("clom")
    recipes.show("apm/cifar10-50", "published", 0)
    recipes.flags("apm/cifar10-50", "quick", 0)
    said = capsys.readouterr().out
    assert "clom/dc-clom-cifar10-10" in said and "Unknown: " in said and "-S 'method.name=apm'" in said
