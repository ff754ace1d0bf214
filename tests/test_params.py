"""Parameters arrive as DVC sees them, and a wrong one is one sentence."""

import importlib
import math
import pkgutil
import subprocess
from typing import Annotated, Literal

import dvc.api
import pytest
from dvc.stage.cache import _get_cache_hash
from dvc.utils.serialize import YAMLFileCorruptedError, dumps_yaml, parse_yaml
from dvc_data.hashfile.meta import Meta
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

import distillation
from distillation import params
from distillation.params import UNSEEN, Section, parse
from distillation.runtime.errors import BadInput
from tests.helpers.clones import ROOT

NUMBERS = st.floats() | st.integers() | st.booleans() | st.none()
WRITTEN = st.sampled_from(
    [
        "1e-05",
        "1e+16",
        "1e16",
        "1e3",
        "1E5",
        "1.5e-3",
        ".5",
        "-.5",
        "5.",
        "+1",
        "-0",
        "0.0",
        ".nan",
        ".NaN",
        ".inf",
        "-.inf",
        "+.inf",
        "0o17",
        "0x1F",
        "0012",
        "yes",
        "no",
        "on",
        "off",
        "y",
        "n",
        "True",
        "true",
        "FALSE",
        "null",
        "~",
        "None",
        "1_000",
        "1e",
        "1.2.3",
        "2026-11-21",
        "12:30",
        "e5",
        "-1e-7",
        "1.0e+10",
        "'1e-5'",
        "abc",
    ]
)


def same(a, b):
    return type(a) is type(b) and (a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b)))


def as_dvc(text):
    return parse_yaml(text, "params.yaml")


@given(NUMBERS)
def test_what_dvc_writes_arrives_as_it_was(value):
    assert same(parse(dumps_yaml({"a": value}))["a"], value)


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["{:e}", "{:g}", "{:E}", "{!r}", "{:.3e}", "{:+e}"]),
)
def test_every_spelling_of_a_float_is_read_as_dvc_reads_it(value, form):
    text = f"a: {form.format(value)}"
    assert same(parse(text)["a"], as_dvc(text)["a"])


@pytest.mark.parametrize("text", WRITTEN.elements)
def test_plain_words_are_read_as_dvc_reads_them(text):
    assert same(parse(f"a: {text}")["a"], as_dvc(f"a: {text}")["a"])


@pytest.mark.parametrize(
    "text",
    [
        (ROOT / "params.yaml").read_text(),
        (ROOT / "dvc.lock").read_text(),
        "a: [1, 2.0, 1e-5, yes, null]\nb: {c: 010, d: 0b1}\n",
        "a: &x {b: 1}\nc: *x\nd:\n  <<: *x\n  e: 2\n",
        "a: |\n  two\n  lines\nb: >-\n  one\n  line\n",
        "%YAML 1.1\n---\na: yes\nb: 010\n",
        "? 1\n: 2\n1.5: x\nfalse: y\n",
    ],
)
def test_whole_texts_are_read_as_dvc_reads_them(text):
    assert repr(parse(text)) == repr(as_dvc(text))  # types, order of keys and nan included


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1", "expected ',' or ']'"),
        ("a: 1\na: 2", 'found duplicate key "a"'),
        ("a: b: c", "mapping values are not allowed"),
        ("\ta: 1", "cannot start any token"),
        ("a: *x", "undefined alias"),
        ("a: !!python/none x", "could not determine a constructor"),
        ("a: \x01", "characters are not allowed"),
        ("a: 1\n---\nb: 2", "expected a single document"),
    ],
)
def test_what_dvc_refuses_is_one_sentence(text, words):
    with pytest.raises(YAMLFileCorruptedError):
        as_dvc(text)
    with pytest.raises(BadInput) as caught:
        parse(text)
    sentence = str(caught.value)
    assert sentence.startswith("params.yaml is not valid YAML: ") and words in sentence
    assert "\n" not in sentence and "http" not in sentence


def test_overrides_arrive_as_params_show_gives_them(tmp_path):
    """Through the real thing: dvc exp run -S writes, params_show and the loader read the same."""
    spellings = [
        "1e-5",
        "1e16",
        "1e20",
        "1e3",
        "1.5e-3",
        ".5",
        "nan",
        "inf",
        "-1e-7",
        "100",
        "yes",
        "abc",
        "1e-300",
        "-0.0",
    ]
    run = lambda *args: subprocess.run(args, cwd=tmp_path, check=True, capture_output=True)  # noqa: E731
    run("git", "init", "-q")
    run("git", "config", "user.email", "a@b")
    run("git", "config", "user.name", "a")
    (tmp_path / "params.yaml").write_text("".join(f"p{i}: 0.0\n" for i in range(len(spellings))))
    (tmp_path / "dvc.yaml").write_text("stages:\n  s:\n    cmd: 'true'\n    params:\n    - p0\n")
    run("dvc", "init", "-q")
    run("git", "add", ".")
    run("git", "commit", "-qm", "a")
    run("dvc", "exp", "run", "-q", *(a for i, s in enumerate(spellings) for a in ("-S", f"p{i}={s}")))
    shown = dvc.api.params_show(repo=str(tmp_path))
    read = params.load(tmp_path / "params.yaml").values
    assert shown.keys() == read.keys()
    for key, value in shown.items():
        assert same(read[key], value), (key, read[key], value)


class Inner(Section):
    rate: float = Field(gt=0)


class Outer(Section):
    count: int = Field(ge=1)
    weight: Annotated[float, Field(ge=0)] | dict[str, Annotated[float, Field(ge=0)]]
    kept: list[Literal["last"] | Annotated[int, Field(ge=1)]]
    inner: Inner


GOOD = {"count": 1, "weight": 0.5, "kept": ["last"], "inner": {"rate": 0.1}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"count": 0}, ["a.count is 0", "greater than or equal to 1"]),
        ({"count": "x"}, ["a.count is 'x'", "valid integer"]),
        ({"weight": "abc"}, ["a.weight is 'abc', but should be a valid number"]),
        ({"weight": math.nan}, ["a.weight is nan", "finite"]),
        ({"weight": {"ConvNet": -1.0}}, ["a.weight should be a valid number or should be greater than or equal to 0"]),
        ({"kept": ["frist"]}, ["a.kept.0 is 'frist'", "'last' or"]),
        ({"cuont": 1}, ["a.cuont is not a setting", "count, weight, kept, inner"]),
        ({"inner": {"rate": 0.1, "raet": 1}}, ["a.inner.raet is not a setting", "rate"]),
        ({"inner": {"rate": 0.0}}, ["a.inner.rate is 0.0", "greater than 0"]),
        ({"inner": {}}, ["a.inner.rate is missing"]),
        ({"count": True}, ["a.count is True", "valid integer"]),
    ],
)
def test_a_bad_value_is_one_sentence_that_names_the_key(change, words):
    with pytest.raises(BadInput) as caught:
        params.validate(Outer, {**GOOD, **change}, "a")
    sentence = str(caught.value)
    assert all(word in sentence for word in words), sentence
    assert "\n" not in sentence and sentence.endswith(".")


def test_a_missing_path_says_what_there_is():
    with pytest.raises(BadInput, match=r"lacks 'a\.x'.*it has count, weight, kept, inner"):
        params.Params({"a": GOOD}).value("a.x")


def test_reads_are_remembered():
    given_params = params.Params({"a": GOOD})
    given_params.fields(
        "a", Inner.__class__("Only", (Section,), {"__annotations__": {"count": int}, "__module__": __name__})
    )
    assert given_params.reads == {"a.count"}


# Names that DVC's run cache overlooks


def test_the_run_cache_overlooks_exactly_the_names_that_are_refused():
    """DVC's key of a run with one key left out after the other: those it does not see are ``UNSEEN``."""
    words = {word for word in vars(Meta).values() if isinstance(word, str) and word.isidentifier()} | {"pixels"}
    keys = {word: [_get_cache_hash({"params": {"a": {"b": {word: value}}}}) for value in (1, 2)] for word in words}
    assert {word for word, (one, two) in keys.items() if one == two} == UNSEEN


@pytest.mark.parametrize("name", sorted(UNSEEN))
def test_a_schema_with_such_a_name_is_refused(name):
    with pytest.raises(TypeError, match=f"Wrong has the field '{name}'"):
        type("Wrong", (Section,), {"__annotations__": {name: int}, "__module__": __name__})
    with pytest.raises(TypeError, match=f"Wrong has the field '{name}'"):
        fields = {"other": Field(alias=name)}
        type("Wrong", (Section,), {"__annotations__": {"other": int}, "__module__": __name__, **fields})


def test_no_schema_has_such_a_name():
    for module in pkgutil.walk_packages(distillation.__path__, "distillation."):
        if not module.name.startswith(
            "distillation.teachers.foreign."
        ):  # they need libraries that few have, no schemas
            importlib.import_module(module.name)
    schemas = {each for each in below(Section) if each.__module__.startswith("distillation.")}
    assert len(schemas) > 40
    for schema in schemas:
        assert not UNSEEN & {field.alias or name for name, field in schema.model_fields.items()}, schema


def below(schema):
    return [each for sub in schema.__subclasses__() for each in (sub, *below(sub))]


@pytest.mark.parametrize(
    "file", ["params.yaml", *(f"recipes/{path.name}" for path in (ROOT / "recipes").glob("*.yaml"))]
)
def test_no_file_has_such_a_name(file):
    assert not UNSEEN & set(keys_in(parse((ROOT / file).read_text())))


def keys_in(values):
    if isinstance(values, dict):
        return [part for key, value in values.items() for part in (*str(key).split("."), *keys_in(value))]
    return [key for value in values for key in keys_in(value)] if isinstance(values, list) else []
