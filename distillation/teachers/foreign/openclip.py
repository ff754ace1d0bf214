"""Image towers of OpenCLIP. Weights are its tags, such as laion2b_s34b_b79k of ViT-B-32."""

import logging

import open_clip
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME, OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

from distillation.teachers.foreign.hub import hub_file


def names():
    return open_clip.list_models()


def tags(name):
    """Those on the Hugging Face hub, trained with the model's own kind of GELU."""
    quick = open_clip.get_model_config(name).get("quick_gelu", False)
    known = {tag: _config(name, tag) for tag in open_clip.list_pretrained_tags_by_model(name)}
    return [tag for tag, config in known.items() if config["hf_hub"] and config.get("quick_gelu", False) == quick]


def expects(name, tag):
    """Normalised as OpenAI's CLIP where there is no tag."""
    config = _config(name, tag) if tag else {}
    size = open_clip.get_model_config(name)["vision_cfg"]["image_size"]
    return size, config.get("mean", OPENAI_DATASET_MEAN), config.get("std", OPENAI_DATASET_STD)


def file(name, tag):
    repository, _, given = _config(name, tag)["hf_hub"].rpartition("/")
    return hub_file(repository, *([given] if given else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]))


def create(name, classes):
    logging.disable(logging.WARNING)  # it warns that the weights are random
    try:
        return open_clip.create_model(name, pretrained_text=False)
    finally:
        logging.disable(logging.NOTSET)


def pretrained(name, tag, path):
    return open_clip.create_model(name, pretrained=str(path))


def classifier(model):
    return ()


def parts(model):
    """The image tower up to the shared space; its classes would be texts, so it has none."""
    return model.visual, None


def _config(name, tag):
    return open_clip.pretrained.get_pretrained_cfg(name, tag)
