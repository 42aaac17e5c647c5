"""Every network at a glance: size, work, input, source, stages."""

import hashlib
from pathlib import Path

from fer_keras.models.counting import multiply_adds
from fer_keras.models.outline import outline
from fer_keras.models.registry import MODELS, build
from fer_keras.recipes import RECIPES
from fer_keras.results import find_table, write_table


def describe_network(name, num_classes=None, *, input_shape=(48, 48, 1)):
    """Return what there is to know of a network before it is trained.

    Args:
        name: a key of `MODELS`.
        num_classes: int; default as in the network's recipes, 7 if it has none.
        input_shape: `(height, width, 1)`, grey.

    Returns:
        Dict of `num_classes`, `input` (list), `parameters`, `multiply_adds`, `source` (str) and `stages`, as `outline`
        returns them.

    Raises:
        ValueError: on an unknown name, or an input that the network cannot be built for.
    """
    num_classes = num_classes or classes_of(name)
    model = build(name, num_classes, input_shape=input_shape, weights=None)
    return {
        "num_classes": num_classes,
        "input": list(input_shape),
        "parameters": model.count_params(),
        "multiply_adds": multiply_adds(model),
        "source": source_of(name),
        "stages": outline(model),
    }


def classes_of(name):
    """Return the number of classes that a network's recipes have."""
    return next((len(recipe.classes) for recipe in RECIPES.values() if recipe.model == name), 7)


def source_of(name):
    """Return where a network comes from, as its builder's docstring says."""
    paragraphs = (MODELS[name].__doc__ or "").split("\n\n")
    found = next((text for text in paragraphs if text.strip().startswith("Reference:")), "")
    words = " ".join(found.split()).removeprefix("Reference: ")
    return words.partition(" Args,")[0]


def record_networks(*, folder: str | Path | None = None) -> None:
    """Record the description of every network (table `networks`), unless it is recorded as the code stands."""
    if not networks_are_recorded(folder=folder):
        networks = {name: describe_network(name) for name in MODELS}
        write_table("networks", {"sources": digest_of_sources(), "networks": networks}, folder=folder)


def networks_are_recorded(*, folder: str | Path | None = None) -> bool:
    """Whether the recorded descriptions were made from the code of this folder as it stands."""
    return (find_table("networks", folder=folder) or {}).get("sources") == digest_of_sources()


def digest_of_sources() -> str:
    """Digest of the code that builds networks, 16 hex characters."""
    total = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        total.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return total.hexdigest()[:16]
