"""What makes parameters sound, told before anything is removed or trained."""

import re

from distillation import methods
from distillation import params as parameters
from distillation.datasets.catalogue import CATALOGUE, facts
from distillation.datasets.settings import DatasetSettings, SourceSettings, check_content
from distillation.evaluation.assess.settings import Assess
from distillation.evaluation.settings import PROTOCOLS, Draws, EvaluateCommon, Saving, training_settings
from distillation.evaluation.settings import Common as EvaluationSettings
from distillation.evaluation.transfer_settings import Kd, Pretrain, Transfer
from distillation.labels import kinds
from distillation.labels.settings import RelabelCommon
from distillation.methods.base import Common, of_a_shard
from distillation.networks.names import check, embeds, parse
from distillation.runtime.errors import BadInput
from distillation.teachers import objectives
from distillation.teachers.settings import merged, pool_settings

SECTIONS = ("dataset", "sources", "targets", "teacher", "method", "relabel", "evaluate", "compute")
# What the default sizes for digits, and what suits CIFAR-10: published for teachers (CLoM) and DM (its section 4.1).
SIZED_FOR_DIGITS = {
    "teacher.main.networks": (["ConvNetD2W64NN"], ["ConvNet"]),
    "teacher.main.supervised.epochs": (30, 150),
    "teacher.main.supervised.batch": (64, 256),
    "teacher.main.supervised.lr": (0.05, 0.01),
    "method.network": ("ConvNetD2W64NN", "ConvNet"),
    "method.dm.iterations": (1000, 20000),
    "method.dm.batch_real": (64, 256),
    "evaluate.networks": (["ConvNetD2W64NN"], ["ConvNet"]),
    "evaluate.seeds": (3, 5),
    "evaluate.whole.epochs": (30, 200),
    "evaluate.whole.batch": (64, 256),
    "evaluate.whole.lr": (0.05, 0.01),
}


def check_all(params):
    """Raise BadInput for the first thing in ``params`` that could not work."""
    _only(params.values, SECTIONS, "params.yaml")
    params.section("compute", parameters.Compute)
    shape = _dataset(params)
    pools = _teachers(params)
    _method(params, shape, pools)
    _relabel(params, pools)
    _evaluate(params, shape, pools)
    _stored_epochs(params)


def notes(params):
    """Sentences about values that are sound, but perhaps not meant: sized for digits while another dataset is chosen, ..."""
    yield from _uneven(params)
    if params.value("dataset.name") == "digits":
        return
    chosen = params.value("method.name")
    for path, (small, published) in SIZED_FOR_DIGITS.items():
        section, _, rest = path.partition(".")
        of_another = section == "method" and "." in rest and not rest.startswith(f"{chosen}.")
        if params.value(path) == small and not of_another:
            yield f"{path} is {small}, sized for digits; {published} suits CIFAR-10."


def _uneven(params):
    """A method whose number of images has no need of classes is compared with rows that count by class."""
    images, ipc = params.value("method.krr_st.images"), params.value("method.ipc")
    known = facts(params.value("dataset.name"))
    if params.value("method.name") == "krr_st" and images and known and images != ipc * known.classes:
        yield (
            f"method.krr_st.images is {images}, but the random and k-means images beside it are {ipc * known.classes}, "
            f"method.ipc = {ipc} of each class."
        )


def _dataset(params):
    """(channels, size) of the dataset, each None where only its files can tell."""
    settings = params.section("dataset", DatasetSettings)
    for section in ("sources", "targets"):
        for name in _names(params, section):
            check_content(params.section(f"{section}.{name}", SourceSettings), f"{section}.{name}")
    return _shape(settings)


def _shape(settings):
    known = facts(settings.name)
    channels = {"rgb": 3, "grey": 1, "auto": known.channels if known else None}[settings.colour]
    return channels, settings.size or (known.size if known else None)


def _teachers(params):
    """The settings of every pool by name."""
    pools = {name: pool_settings(params, name) for name in _names(params, "teacher")}
    for name, pool in pools.items():
        for objective in objectives.names():
            section = merged(params, name).get(objective)
            parameters.validate(objectives.load(objective).settings, section, f"teacher.{name}.{objective}")
        group, _, source = pool.source.partition("/")
        if source and source not in _mapping(params, group):
            known = ", ".join(["dataset", *(f"{g}/{k}" for g in ("sources", "targets") for k in _mapping(params, g))])
            raise BadInput(f"teacher.{name}.source is {pool.source!r}, but there are only {known}.")
        for word in objectives.load(pool.objective).words(pool):
            _network(f"teacher.{name}.networks", word, _shape(_source(params, pool.source)))
    return pools


def _method(params, shape, pools):
    names = methods.names()
    _only(_mapping(params, "method"), [*Common.model_fields, *names], "method")
    common = params.fields("method", Common)
    for name in {*names} & params.value("method").keys():
        params.section(f"method.{name}", methods.load(name).Settings)
    chosen = methods.load(common.name).METHOD
    settings = params.section(f"method.{common.name}", methods.load(common.name).Settings)
    _, share = of_a_shard(chosen, common, settings)
    known = facts(params.value("dataset.name"))
    chosen.check(share, settings, known.classes if known else None)
    if common.guided and not chosen.guided:
        raise BadInput(
            f"method.alpha is above 0, but {common.name} has no image gradient that guidance could join; set it to 0."
        )
    for path, pool in {"method.teacher": common.teacher, "method.guidance.teacher": common.guidance.teacher}.items():
        _pool(path, pool, pools)
    chosen.check_teachers(common, settings, pools[common.teacher])
    if chosen.matches_features and not embeds(common.network):
        raise BadInput(f"method.network is {common.network}, which has no features that {common.name} could match.")
    if chosen.asks_logits or chosen.reads_batch_norms:
        _knows_classes(params, common, pools[common.teacher])
    if chosen.asks_logits and _source(params, source := pools[common.teacher].source).zca != params.value(
        "dataset.zca"
    ):
        raise BadInput(
            f"method.teacher is {common.teacher!r}, whose source, {source}, has another zca than the dataset: {common.name} "
            "asks for teachers that take the images as they are."
        )
    if chosen.reads_batch_norms:
        _batch_norms(common, pools[common.teacher])
    if common.guided:
        _guidance(params, common, shape, pools[common.guidance.teacher])
    _network("method.network", common.network, shape)


def _knows_classes(params, common, pool):
    """What a teacher must be whose word a method takes."""
    if not (objectives.load(pool.objective).classifies(pool) and _may_share_classes(params, pool.source)):
        raise BadInput(
            f"method.teacher is {common.teacher!r}, whose networks do not know the classes of the dataset, but {common.name} "
            "asks for each image's class."
        )


def _batch_norms(common, pool):
    """What a teacher must be whose batch norms a method reads; only the words of our networks say whether it has any."""
    objective, first = objectives.load(pool.objective), pool.networks[0]
    if first in objective.words(pool) and parse(first).norm != "BN":
        raise BadInput(
            f"method.teacher is {common.teacher!r}, whose first network is {first}, but {common.name} reads batch norms: "
            "choose a network that has them, such as ResNet18BN."
        )


def _guidance(params, common, shape, pool):
    """What the teachers of ``pool`` must be to guide, as far as it is known before they are made."""
    settings, objective = common.guidance, objectives.load(pool.objective)
    if isinstance(common.alpha, dict) and (unknown := common.alpha.keys() ^ set(pool.networks)):
        raise BadInput(
            f"method.alpha and teacher.{settings.teacher}.networks must name the same networks; "
            f"{sorted(unknown)[0]} is on one side only."
        )
    if str(settings.epoch) not in ("any", *map(str, pool.keep)):
        kept = ", ".join(map(str, pool.keep))
        raise BadInput(
            f"method.guidance.epoch is {settings.epoch}, but teacher.{settings.teacher}.keep is {kept}: name one of them, "
            "or any."
        )
    if settings.distance != "cos" and not (objective.classifies(pool) and _may_share_classes(params, pool.source)):
        raise BadInput(
            f"method.guidance.distance is {settings.distance}, but the teachers of {settings.teacher} do not know the "
            "classes of the dataset: choose cos, or another method.guidance.teacher."
        )
    if settings.distance == "cos" and (bare := [word for word in objective.words(pool) if not embeds(word)]):
        raise BadInput(f"method.guidance.distance is cos, but the teacher {bare[0]} has no features.")
    theirs = objective.shape(pool, _shape(_source(params, pool.source)))
    if not settings.adapt and any(None not in pair and pair[0] != pair[1] for pair in zip(shape, theirs, strict=True)):
        raise BadInput(
            f"the teachers of {settings.teacher} take {theirs[0]} channels of {theirs[1]} px, but the images of the dataset "
            f"are {shape[0]} of {shape[1]} px: method.guidance.adapt true adapts them."
        )


def _may_share_classes(params, source):
    """Whether the classes of a pool's source can be those of the dataset: False where they are known to differ."""
    ours, theirs = (_source(params, each).name for each in ("dataset", source))
    known = [(CATALOGUE[name].count, CATALOGUE[name].classes) for name in (ours, theirs)]
    return ours == theirs or all(not a or not b or a == b for a, b in zip(*known, strict=True))


def _source(params, source):
    """The settings of the dataset that a pool's ``source`` names."""
    group, _, name = source.partition("/")
    return params.section(f"{group}.{name}", SourceSettings) if name else params.section("dataset", DatasetSettings)


def _relabel(params, pools):
    _only(_mapping(params, "relabel"), [*RelabelCommon.model_fields, *kinds.names()], "relabel")
    common = params.fields("relabel", RelabelCommon)
    for kind in kinds.names():
        params.section(f"relabel.{kind}", kinds.load(kind).Settings)
    _pool("relabel.teacher", common.teacher, pools)


def _evaluate(params, shape, pools):
    shared = [*EvaluateCommon.model_fields, *Draws.model_fields, *Saving.model_fields, "protocols", "assess", "whole"]
    shared += ["pretrain", "transfer", "kd"]
    _only(_mapping(params, "evaluate"), [*shared, *PROTOCOLS], "evaluate")
    common = params.fields("evaluate", EvaluateCommon)
    params.fields("evaluate", Draws)
    params.fields("evaluate", Saving)
    params.section("evaluate.whole", EvaluationSettings)
    protocols = params.value("evaluate.protocols")
    if not isinstance(protocols, list) or any(protocols.count(p) > 1 for p in protocols):
        raise BadInput(f"evaluate.protocols must list each of {', '.join(PROTOCOLS)} at most once.")
    for protocol in PROTOCOLS:
        training_settings(params, protocol, "hard")
    for protocol in protocols:
        training_settings(params, protocol, _label_kind(params))
    if "common" in protocols:
        _common_classes(params)
    _set_lr(params)
    _pretraining(params, shape, pools)
    for word in common.networks:
        _network("evaluate.networks", word, shape)
    for pool in params.section("evaluate.assess", Assess).teachers:
        _pool("evaluate.assess.teachers", pool, pools)


def _stored_epochs(params):
    """Stored labels must last as long as training; the protocol ``common`` has no use for them."""
    stored, wanted = params.value("relabel.fkd.epochs"), params.value("evaluate.standard.fkd.epochs")
    used = params.value("relabel.kind") == "fkd" and "standard" in params.value("evaluate.protocols")
    if used and wanted > stored:
        raise BadInput(
            f"evaluate.standard.fkd.epochs is {wanted}, but relabel.fkd.epochs stores labels for {stored} only."
        )


def _set_lr(params):
    """Students can learn at the set's own rate where the method learns one, or its file may bring one."""
    name = params.value("method.name")
    asked = params.value("evaluate.standard.hard.set_lr") and "standard" in params.value("evaluate.protocols")
    if asked and params.value("relabel.kind") in ("keep", "hard") and not methods.load(name).METHOD.learns_lr:
        raise BadInput(
            f"evaluate.standard.hard.set_lr is true, but {name} learns no learning rate with its images, as mtt does: set it "
            "to false."
        )


def _common_classes(params):
    """The protocol ``common`` trains classes, which labels in a file beside a set do not give it."""
    name, made = params.value("method.name"), params.value("relabel.kind")
    if made in ("online", "fkd") and _kind_made(params) == "features":
        raise BadInput(
            f"the protocol common trains classes, but the set of {name} has none, and relabel.kind {made} gives it none: let "
            "evaluate.protocols be without common, or give it classes by relabel.kind hard, logits or probs."
        )


def _label_kind(params):
    """The kind of the set's labels as far as the parameters tell it: features, or what can stand for classes."""
    made = params.value("relabel.kind")
    return "features" if (_kind_made(params) if made == "keep" else made) == "features" else "hard"


def _kind_made(params):
    """The kind of the labels that the method makes."""
    name = params.value("method.name")
    module = methods.load(name)
    return module.METHOD.labels_of(params.section(f"method.{name}", module.Settings))


def _pretraining(params, shape, pools):
    """Networks can be carried over where images have the shape of those that they were pre-trained on."""
    params.section("evaluate.pretrain", Pretrain)
    params.section("evaluate.transfer", Transfer)
    for name in _names(params, "targets"):
        theirs = _shape(_source(params, f"targets/{name}"))
        if any(None not in pair and pair[0] != pair[1] for pair in zip(shape, theirs, strict=True)):
            raise BadInput(
                f"targets.{name} has {theirs[0]} channels of {theirs[1]} px, but the images of the dataset have {shape[0]} of "
                f"{shape[1]} px: give it the same size and colour, since networks are carried over."
            )
    for target, pool in params.section("evaluate.kd", Kd).teachers.items():
        path = f"evaluate.kd.teachers.{target}"
        if target not in params.value("targets"):
            raise BadInput(
                f"{path} is of no dataset of targets, which has {', '.join(params.value('targets')) or 'none'}."
            )
        _pool(path, pool, pools)
        taught = pools[pool]
        if taught.source != f"targets/{target}" or not objectives.load(taught.objective).classifies(taught):
            raise BadInput(
                f"{path} is {pool!r}, whose teachers do not classify that target: their source is {taught.source}."
            )
        _same_shape(f"{path} is {pool!r}, which takes", taught, _shape(_source(params, taught.source)))


def _same_shape(takes, pool, shape):
    """The teachers of kd must take images of the ``shape`` of their target, which the student is given too."""
    theirs = objectives.load(pool.objective).shape(pool, shape)
    if any(None not in pair and pair[0] != pair[1] for pair in zip(shape, theirs, strict=True)):
        raise BadInput(
            f"{takes} {theirs[0]} channels of {theirs[1]} px, but the images of the target are {shape[0]} of {shape[1]} px."
        )


def _network(path, word, shape):
    """A network word must be known and, where the images' shape is known already, fit it."""
    try:
        parse(word) if None in shape else check(word, *shape)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error


def _pool(path, name, pools):
    if name not in pools:
        raise BadInput(f"{path} is {name!r}, but the pools of the section teacher are {', '.join(pools)}.")


def _mapping(params, path):
    value = params.value(path)
    if not isinstance(value, dict):
        raise BadInput(f"{path} must be a mapping from names to sections, not {value!r}.")
    return value


def _names(params, path):
    """The keys of a map that become names of stages and folders."""
    for name in (names := list(_mapping(params, path))):
        if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name):
            raise BadInput(f"{path} has the name {name!r}, but names are letters, digits, - and _ only.")
    return names


def _only(values, known, where):
    for key in values:
        if key not in known:
            raise BadInput(f"{where} has no setting {key!r}; it has {', '.join(known)}.")
    for key in known:
        if key not in values:
            raise BadInput(f"{where} lacks {key!r}.")
