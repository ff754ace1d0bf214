"""Checks of the section evaluate."""

from distillation import methods
from distillation.checks.dataset import Shape, check_network, described, differ, settings_of, shape_of
from distillation.checks.sections import mapping, names, only
from distillation.checks.teacher import Pools, check_pool
from distillation.evaluation.assess.settings import Assess
from distillation.evaluation.settings import PROTOCOLS, Common, Draws, EvaluateCommon, Saving, training_settings
from distillation.evaluation.transfer_settings import Kd, Pretrain, Transfer
from distillation.params import Params
from distillation.runtime.errors import BadInput
from distillation.teachers import objectives
from distillation.teachers.settings import PoolSettings

_FIELDS = [name for schema in (EvaluateCommon, Draws, Saving) for name in schema.model_fields]
_KEYS = [*_FIELDS, "protocols", "assess", "whole", "pretrain", "transfer", "kd", *PROTOCOLS]


def check(params: Params, shape: Shape, pools: Pools) -> None:
    """Checks the section evaluate, also against the labels that the set will have.

    Args:
        params: the parameters, whose other sections were checked.
        shape: shape of the dataset's images.
        pools: settings of every pool by its name.

    Raises:
        BadInput: a key or value is wrong, or does not suit the images, the kind of the labels or the pools.
    """
    only(mapping(params, "evaluate"), _KEYS, "evaluate")
    common = params.fields("evaluate", EvaluateCommon)
    params.fields("evaluate", Draws)
    params.fields("evaluate", Saving)
    params.section("evaluate.whole", Common)
    _protocols(params)
    _common_classes(params)
    _set_lr(params)
    params.section("evaluate.pretrain", Pretrain)
    params.section("evaluate.transfer", Transfer)
    _targets(params, shape)
    _pretrained_on(params)
    for target, pool in params.section("evaluate.kd", Kd).teachers.items():
        _kd_teacher(params, target, pool, pools)
    for network in common.networks:
        check_network("evaluate.networks", network, shape)
    for pool in params.section("evaluate.assess", Assess).teachers:
        check_pool("evaluate.assess.teachers", pool, pools)
    _stored_epochs(params)


def _protocols(params: Params) -> None:
    """Raises BadInput if ``evaluate.protocols`` is wrong, or a protocol cannot train on the set's labels."""
    protocols = params.value("evaluate.protocols")
    if not isinstance(protocols, list) or any(protocols.count(p) > 1 for p in protocols):
        raise BadInput(f"evaluate.protocols must list each of {', '.join(PROTOCOLS)} at most once.")
    for protocol in PROTOCOLS:  # also those that are not chosen: their sections must be valid, like all others
        training_settings(params, protocol, "hard")
    for protocol in protocols:
        training_settings(params, protocol, _label_kind(params))


def _common_classes(params: Params) -> None:
    """Raises BadInput if the protocol ``common``, which trains classes, gets a set whose labels are in a file beside it."""
    name, kind = params.value("method.name"), params.value("relabel.kind")
    evaluated = "common" in params.value("evaluate.protocols")
    # with these two kinds, common uses the classes that the images were made for, which such a method does not give
    if evaluated and kind in ("online", "fkd") and _kind_of_method(params) == "features":
        raise BadInput(
            f"the protocol common trains classes, but the set of {name} has none, and relabel.kind {kind} gives it none: let "
            "evaluate.protocols be without common, or give it classes by relabel.kind hard, logits or probs."
        )


def _label_kind(params: Params) -> str:
    """``features`` if the set will be labelled with features, which no protocol can train on, else ``hard``.

    Other kinds need not be told apart here: the settings of every kind are checked in any case.
    """
    kind = params.value("relabel.kind")
    return "features" if (_kind_of_method(params) if kind == "keep" else kind) == "features" else "hard"


def _kind_of_method(params: Params) -> str:
    """The kind of the labels that the method makes."""
    name = params.value("method.name")
    module = methods.load(name)
    return module.METHOD.labels_of(params.section(f"method.{name}", module.Settings))


def _set_lr(params: Params) -> None:
    """Raises BadInput if students should train at the set's own learning rate, but the method can bring none."""
    name = params.value("method.name")
    set_lr = params.value("evaluate.standard.hard.set_lr") and "standard" in params.value("evaluate.protocols")
    # with other kinds of labels, standard.hard is not used
    if set_lr and params.value("relabel.kind") in ("keep", "hard") and not methods.load(name).METHOD.learns_lr:
        raise BadInput(
            f"evaluate.standard.hard.set_lr is true, but {name} learns no learning rate with its images, as mtt does: set it "
            "to false."
        )


def _stored_epochs(params: Params) -> None:
    """Raises BadInput if training lasts longer than the stored labels; the protocol ``common`` uses none."""
    stored, epochs = params.value("relabel.fkd.epochs"), params.value("evaluate.standard.fkd.epochs")
    used = params.value("relabel.kind") == "fkd" and "standard" in params.value("evaluate.protocols")
    if used and epochs > stored:
        raise BadInput(
            f"evaluate.standard.fkd.epochs is {epochs}, but relabel.fkd.epochs stores labels for {stored} only."
        )


def _targets(params: Params, shape: Shape) -> None:
    """Raises BadInput if a target has images of another shape than the dataset, as networks are transferred unchanged."""
    for name in names(params, "targets"):
        target_shape = shape_of(settings_of(params, f"targets/{name}"))
        if differ(shape, target_shape):
            raise BadInput(
                f"targets.{name} has images of {described(target_shape)}, but those of the dataset have {described(shape)}: "
                "give it the same pixels and colour, since networks are carried over."
            )


def _pretrained_on(params: Params) -> None:
    """Raises BadInput if networks should be pre-trained on labels that are in a file beside the set."""
    kind, keys = params.value("relabel.kind"), ("targets", "evaluate.kd.teachers")
    if kind in ("online", "fkd") and (used := [key for key in keys if params.value(key)]):
        raise BadInput(
            f"relabel.kind is {kind}, whose labels belong to batches, but networks for {used[0]} are pre-trained on labels "
            f"of images: choose keep, hard, logits, probs or features, or let {used[0]} be empty."
        )


def _kd_teacher(params: Params, target: str, name: str, pools: Pools) -> None:
    """Raises BadInput if the pool ``name`` cannot teach its knowledge of a target."""
    path = f"evaluate.kd.teachers.{target}"
    if target not in params.value("targets"):
        raise BadInput(f"{path} is of no dataset of targets, which has {', '.join(params.value('targets')) or 'none'}.")
    check_pool(path, name, pools)
    pool = pools[name]
    if pool.source != f"targets/{target}" or not objectives.load(pool.objective).classifies(pool):
        raise BadInput(
            f"{path} is {name!r}, whose teachers do not classify that target: their source is {pool.source}."
        )
    _same_shape(f"{path} is {name!r}, which takes", pool, shape_of(settings_of(params, pool.source)))


def _same_shape(takes: str, pool: PoolSettings, shape: Shape) -> None:
    """Raises BadInput if the teachers take images of another ``shape`` than their target, which the student takes, too."""
    input_shape = objectives.load(pool.objective).shape(pool, shape)
    if differ(shape, input_shape):
        raise BadInput(f"{takes} images of {described(input_shape)}, but those of the target have {described(shape)}.")
