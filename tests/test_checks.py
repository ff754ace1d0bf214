"""What check accepts can run: hostile files, numbers out of bounds, what a machine cannot hold, and what no stage could do."""

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from distillation import checks, methods, params
from distillation.bounds import MOST
from distillation.checks import resources
from distillation.datasets.arrays import READERS
from distillation.datasets.catalogue import CATALOGUE
from distillation.labels import kinds
from distillation.params import Section
from distillation.runtime.errors import BadInput
from distillation.teachers import objectives
from stages import check
from studies.fuzz_check import checked, mutated, sound
from tests.helpers.clones import ROOT
from tests.helpers.parameters import product_params

FILES = int(os.environ.get("FUZZ_FILES", "40"))  # random parameter files; 1000 take some minutes
SMALL = resources.Machine(memory=16e9, disk=1e11)


def refused(changes):
    with pytest.raises(BadInput) as caught:
        checks.check_all(product_params(changes))
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith("."), sentence
    return sentence


# Files


@pytest.mark.parametrize("seed", range(FILES))
def test_a_random_file_is_accepted_or_refused_in_one_sentence(seed):
    status, said = checked(mutated(seed))
    assert sound(status, said), said


def test_more_images_to_begin_from_than_there_are_are_refused_before_teachers_are_trained():
    words = {"method.name": "krr_st", "teacher.main.objective": "moco_v2", "evaluate.protocols": []}
    sentence = refused({**words, "method.krr_st.images": 1443})
    assert sentence == "method.krr_st.images asks for 1443 images, but the dataset has 1442."
    checks.check_all(product_params({**words, "method.krr_st.images": 1442}))
    checks.check_all(product_params({**words, "method.krr_st.images": 1443, "method.init": "noise"}))


def test_the_guidance_of_the_default_is_told_to_whoever_chooses_another_method():
    told = "method.alpha is 100.0, the default's weight for dm: it guides mtt too; 0.0 guides nothing."
    assert told in list(checks.notes(product_params({"method.name": "mtt", "method.alpha": 100.0})))
    for changes in ({"method.alpha": 100.0}, {"method.name": "mtt"}):
        assert not [note for note in checks.notes(product_params(changes)) if "guides" in note]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["--finish", "--runs"])
def test_what_check_accepts_runs_to_its_end(kind):
    command = [sys.executable, "-m", "studies.fuzz_check", "--files", "0", kind, "4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "4 accepted files ended in {0: 4}" in done.stdout, done.stdout + done.stderr


def product(found, to):
    return (ROOT / "params.yaml").read_text().replace(found, to, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (product("", "").encode("utf-16"), "is not UTF-8: its byte 0 is 0xff"),
        (product("ipc: 1 ", "ipc: 1 # \u00fc").encode("latin-1"), "is not UTF-8: its byte"),
        (product("ipc: 1 ", "ipc: 0x_ "), "not valid YAML"),
        (product("ipc: 1 ", "ipc: ._ "), "not valid YAML"),
        (product("ipc: 1 ", f"ipc: {'1' * 5000} "), "not valid YAML"),
        (product("ipc: 1 ", f"ipc: 0x{'1' * 5000} "), "an integer of 19997 bits"),
        (product("ipc: 1 ", f"ipc: {'[' * 3000}{']' * 3000} "), "nested more than"),
        (product("ipc: 1 ", "ipc: &a [*a] "), "holds more than"),
        (product("ipc: 1 ", "ipc: !!set {x} "), "{'x'}: a value is"),
        (product("ipc: 1 ", 'ipc: !!int "" '), "not valid YAML"),
        (product("ipc: 1 ", "ipc: 1\n  ipc: 1 "), 'duplicate key "ipc"'),
        (product("seed: 0 ", 'seed: "\\ud800" '), "invalid Unicode character"),
        (product("name: dm ", 'name: "d\\0m" '), "control characters"),
        ("a: 1\n" + "# \n" * params.LONGEST, "bytes: it may have"),
        ("", "must be a mapping"),
    ],
    ids=range(15),
)
def test_a_hostile_file_is_refused_in_one_sentence(text, words):
    status, said = checked(text)
    assert status == 2 and sound(status, said) and words in said, said


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_file_is_refused_at_once(tmp_path, make):
    make(tmp_path / "params.yaml")
    with pytest.raises(BadInput, match=r"a folder, a pipe or a device: it must be a file of text\.$"):
        params.load(tmp_path / "params.yaml")


def test_aliases_that_multiply_are_refused(tmp_path):
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]" for i in range(20)]
    (tmp_path / "params.yaml").write_text("\n".join(lines))
    with pytest.raises(BadInput, match="its aliases followed"):
        params.load(tmp_path / "params.yaml")


# Bounds


def schemas():
    for package in (methods, kinds):
        yield from (package.load(name).Settings for name in package.names())
    yield from (objectives.load(name).settings for name in objectives.names())
    yield from below(Section)


def below(schema):
    return [each for sub in schema.__subclasses__() for each in (sub, *below(sub))]


def numbers(schema):
    """Every part of a JSON schema that describes a number."""
    if isinstance(schema, dict):
        if schema.get("type") in ("integer", "number") and not {"const", "enum"} & schema.keys():
            yield schema
        for part in schema.values():
            yield from numbers(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from numbers(part)


def test_every_number_of_every_schema_has_bounds():
    found = 0
    for schema in set(schemas()):
        if schema.__module__.startswith("distillation."):
            for number in numbers(schema.model_json_schema()):
                assert {"minimum", "exclusiveMinimum"} & number.keys(), (schema, number)
                assert {"maximum", "exclusiveMaximum"} & number.keys(), (schema, number)
                found += 1
    assert found > 300


@pytest.mark.parametrize("path", ["method.ipc", "method.chunk", "compute.threads", "compute.workers", "evaluate.seeds"])
def test_a_number_beyond_its_bound_is_refused(path):
    assert re.match(f"{path} is 1000000001, but should be .*less than or equal to ", refused({path: MOST + 1}))
    assert refused({path: 1e30}).startswith(f"{path} is 1e+30, but ")


@pytest.mark.parametrize("section", ["teacher", "sources", "targets"])
@pytest.mark.parametrize("name", ["a" * 61, "size", "nfiles", "a/b", "", "\u732b" * 300])
def test_names_become_folders(section, name):
    entry = product_params().value("teacher.main") if section == "teacher" else {"name": "digits"}
    whole = {**(product_params().value("teacher") if section == "teacher" else {}), name: entry}
    assert refused({section: whole}).startswith(f"{section} has the name ")


# The machine


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method.network": "ConvNetW99999"}, "method.network is too large"),
        ({"evaluate.networks": ["ConvNetW99999"]}, "evaluate.networks is too large"),
        ({"teacher.main.networks": ["ConvNetW30000"]}, "teacher.main.networks is too large"),
        ({"dataset.name": "cifar10", "dataset.pixels": 4096}, "dataset.pixels is too large"),
        ({"method.name": "kip", "dataset.name": "cifar10", "method.ipc": 5000}, "method.ipc is too large"),
        ({"relabel.kind": "fkd", "relabel.fkd.epochs": MOST}, "relabel.fkd.epochs is too large"),
        (
            {
                "evaluate.save_models": True,
                "evaluate.seeds": 10**4,
                "evaluate.networks": ["VGG11"],
                "dataset.pixels": 32,
            },
            "seeds",
        ),
    ],
)
def test_what_the_machine_cannot_hold_is_refused(changes, words):
    given = product_params(changes)
    with pytest.raises(BadInput, match=words) as caught:
        resources.check(given, checks.check_all(given), SMALL)
    assert "of which there are" in str(caught.value)
    resources.check(given, checks.check_all(given), resources.Machine(memory=math.inf, disk=math.inf))


def test_the_default_needs_little():
    resources.check(product_params(), checks.check_all(product_params()), resources.Machine(memory=1e8, disk=1e8))


def test_the_out_is_the_same_whatever_the_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    outs = []
    for memory in (1e9, 1e12):
        monkeypatch.setattr(
            resources, "this_machine", lambda compute, memory=memory: resources.Machine(memory=memory, disk=1e12)
        )
        check.run()
        outs.append(Path("data/checked").read_bytes())
    assert outs[0] == outs[1]
    monkeypatch.setattr(resources, "this_machine", lambda compute: resources.Machine(memory=1e3, disk=1e12))
    with pytest.raises(BadInput, match="of which there are"):
        check.run()


# What no stage could do

C100 = {"sources": {"c100": {"name": "cifar100"}}}
DIGITS_32 = {"sources": {"large": {"name": "digits", "pixels": 32}}}


def pool(source, **more):
    return {
        **product_params().value("teacher"),
        "other": {"source": source, "objective": "supervised", "networks": ["ConvNet"], **more},
    }


@pytest.mark.parametrize("kind", ["hard", "logits", "probs", "online", "fkd", "features"])
def test_a_pool_of_other_images_cannot_label(kind):
    changes = {**DIGITS_32, "teacher": pool("sources/large"), "relabel.teacher": "other", "relabel.kind": kind}
    assert "takes images of 1 channel of 32 px" in refused(changes)


@pytest.mark.parametrize("kind", ["hard", "logits", "probs", "online", "fkd"])
def test_a_pool_of_other_classes_cannot_label(kind):
    changes = {**C100, "teacher": pool("sources/c100"), "relabel.teacher": "other", "relabel.kind": kind}
    assert "do not know the classes of the dataset" in refused(changes)


def test_a_network_without_features_labels_with_none():
    changes = {"teacher": pool("dataset", networks=["MLP"]), "relabel.teacher": "other", "relabel.kind": "features"}
    assert "which has no features" in refused({**changes, "evaluate.protocols": []})


@pytest.mark.parametrize("kind", ["online", "fkd"])
def test_labels_of_batches_pretrain_nothing(kind):
    assert "pre-trained on labels of images" in refused(
        {"relabel.kind": kind, "targets": {"again": {"name": "digits"}}}
    )


@pytest.mark.parametrize("changes", [{}, {"method.name": "random"}, {"method.init": "noise"}])
def test_no_class_gives_more_images_than_it_has(changes):
    """Whatever the method starts from: its baselines take as many real images."""
    most = CATALOGUE["digits"].smallest_class
    assert f"set it to {most} or less" in refused({**changes, "method.ipc": most + 1})
    checks.check_all(product_params({**changes, "method.ipc": most}))


def test_the_smallest_class_of_the_catalogue_is_no_smaller_than_that_of_the_files():
    train = READERS["digits"]()[0]
    assert CATALOGUE["digits"].smallest_class >= train.labels.bincount().min()


@pytest.mark.parametrize(("key", "value"), [("batch", 1443), ("knn.k", 1443), ("splits", 512)])
def test_a_selfsupervised_pool_needs_so_many_images(key, value):
    given = {
        "teacher.main.objective": "moco_v2",
        "teacher.main.networks": ["ResNet10W4BN"],
        "teacher.main.supervised": {},
    }
    section = dict(product_params().value("objectives.moco_v2"))
    given["teacher.main.moco_v2"] = {"knn": {**section["knn"], "k": value}} if key == "knn.k" else {key: value}
    if key == "batch":
        given["teacher.main.moco_v2"]["splits"] = 1
    assert f"teacher.main.moco_v2.{key} is {value}" in refused({**given, "method.name": "random"})


@pytest.mark.parametrize("name", ["herding", "kcenter", "kmeans", "krr_st"])
def test_teachers_whose_features_a_method_reads_have_some(name):
    changes = {"method.name": name, "method.ipc": 1, "teacher.main.networks": ["MLP"]}
    assert "method.teacher is 'main', whose first network is MLP, which has no features" in refused(changes)
    if name != "krr_st":
        checks.check_all(product_params({**changes, f"method.{name}.features": "pixels"}))
