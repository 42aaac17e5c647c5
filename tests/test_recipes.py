"""Recipes: what they hold, which values they take, and that no recorded run loses its recipe."""

import dataclasses
import json
import math
import re

import pytest

from fer_keras import paths
from fer_keras.data.dataset import PROTOCOLS
from fer_keras.labels import CKPLUS7, FER4, FER6, FER7, FERPLUS8
from fer_keras.models import MODELS
from fer_keras.recipes import RECIPES, SPACES, Recipe, find_recipe, find_space, for_split
from fer_keras.recipes.recipe import CHOICES, RANGES
from fer_keras.results import read_runs

PLAIN = Recipe(name="plain", system="F", title="Plain", model="fer-small", data="fer7")
INTERVALS = {name: interval for interval, names in RANGES.items() for name in names}
FIELDS = dataclasses.fields(Recipe)


def refused(message, **changes):
    """Check that a recipe with these changes is refused, in three parts."""
    with pytest.raises(ValueError, match=rf"Recipe [^:]*: .*{message}") as caught:
        dataclasses.replace(PLAIN, **changes)
    assert re.fullmatch(r"Recipe .*: .+\. Received: .+\. .+[.?]", str(caught.value), re.DOTALL), str(caught.value)


def test_recipes_are_plain_findable_and_made_of_recipes_and_so_is_every_cell_of_a_grid():
    for name, recipe in RECIPES.items():
        assert find_recipe(name) is recipe
        assert name == recipe.name
        assert recipe.model in MODELS or (recipe.model, bool(recipe.members)) == ("ensemble", True)
        assert json.loads(json.dumps(dataclasses.asdict(recipe)))
        assert (recipe.published is None) or recipe.published_source
        assert not recipe.start_recipe or recipe.start_recipe in RECIPES
        for part, digest, *_ in (*recipe.members, *recipe.teachers):
            assert RECIPES[part].digest == digest
    for space in SPACES.values():
        fields = [(name, value) for name in {*space.grid} - {"variant", "seed"} for value in space.grid[name]]
        for change in (*space.variants.values(), *({name: value} for name, value in fields)):
            dataclasses.replace(RECIPES[space.recipe], **change)
    with pytest.raises(ValueError, match=r"no recipe 'mini-xcepton'\. Did you mean 'mini-xception'"):
        find_recipe("mini-xcepton")
    with pytest.raises(ValueError, match=r"no search space 'everything'\. Expected one of: sep-table-2"):
        find_space("everything")


def test_every_recorded_run_is_of_a_recipe_as_it_stands():
    """A default that was changed, or a recipe, would leave records that nobody can train again."""
    records = read_runs(paths.project() / "reports" / "results")
    known = [run for run in records if run.recipe_name in RECIPES]
    assert known
    for run in known:
        recipe = RECIPES[run.recipe_name]
        assert (run.recipe_digest, run.classes) == (recipe.digest, recipe.classes), recipe.name


def test_a_digest_follows_what_decides_the_network_and_nothing_else():
    recipe = RECIPES["mini-xception"]
    same = dataclasses.replace(recipe, title="another", note="another", published=1.0, final=False, seeds=(0, 1))
    assert same.digest == recipe.digest
    values = {"batch_size": 33, "flip": False, "zoom": (0.8, 1.2), "model": "vgg16", "epochs": 1, "name": "x"}
    digests = {dataclasses.replace(recipe, **{key: value}).digest for key, value in values.items()}
    assert len(digests | {recipe.digest}) == len(values) + 1


def test_a_value_other_than_the_possible_ones_is_refused_with_these_and_the_one_that_was_meant():
    for field, values in CHOICES.items():
        possible = re.escape(", ".join(map(repr, values)))
        refused(rf"`{field}` must be one of {possible}\. Received: {field}='lion'\.", **{field: "lion"})
    near = {"val_acc": ("monitor", "val_accuracy"), "accuracy": ("monitor", "val_accuracy")}
    near |= {"vote": ("targets", "votes"), "fer8": ("data", "fer7"), "Adam": ("optimizer", "adam")}
    for value, (field, meant) in near.items():
        refused(rf"Received: {field}={value!r}\. Did you mean {meant!r}\?$", **{field: value})


@pytest.mark.parametrize("field", INTERVALS)
def test_a_number_outside_its_range_is_refused(field):
    interval, kind = INTERVALS[field], type(getattr(PLAIN, field))
    low, high = map(float, interval[1:-1].split(","))
    as_given = {tuple: lambda value: (value, value), int: int}.get(kind, float)
    beyond = [low - 1, *([low] if interval[0] == "(" else []), *([high] if interval[-1] == ")" else [high + 1])]
    for value in (*beyond, math.nan, math.inf, -math.inf):
        whole = kind is int and not math.isfinite(value)
        words = "be of type int" if whole else rf"(lie|be two numbers) in {re.escape(interval)}"
        refused(rf"`{field}` must {words}", **{field: value if whole else as_given(value)})
    for value in [low] * (interval[0] == "[") + [high] * (interval[-1] == "]"):
        assert dataclasses.replace(PLAIN, **{field: as_given(value)})
    if kind is tuple:
        for pair in ((1.2, 0.8), (0.9,), (0.8, 1.0, 1.2), (), ("0.8", "1.2"), (True, 2.0), (0.8, None)):
            refused(f"`{field}` must be two numbers", **{field: pair})


def test_every_number_has_a_range_and_a_value_of_another_type_is_refused():
    numbers = {field.name for field in FIELDS if isinstance(0.0, field.type) or field.type is int}
    assert set(INTERVALS) == numbers | {field.name for field in FIELDS if field.default == (1.0, 1.0)}
    for field in FIELDS:
        for value in ("5", True, 5, 0.5, None, b"x", ("a",), ["a", "b"], {"a": 1}):
            stands_for = value == 5 and isinstance(0.0, field.type)  # an int, for a float
            right = field.type is bool if isinstance(value, bool) else isinstance(value, field.type)
            if not stands_for and not right:
                refused(f"`{field.name}` must be of type", **{field.name: value})


def test_values_that_do_not_go_together_are_refused():
    for changes, message in (
        ({"schedule": "cosine", "reduce_patience_epochs": 2}, "ReduceLROnPlateau needs a constant rate"),
        ({"schedule": "cosine", "warmup_epochs": 6.0, "epochs": 6}, "`warmup_epochs` must be less than `epochs`"),
        ({"data": "own"}, "needs `class_names`"),
        ({"class_names": FER4}, "other data has its own"),
        ({"data": "own", "class_names": ("happy", "happy")}, "two or more different names"),
        ({"positive": "joy"}, "`positive` must be one of angry"),
        ({"model": "ensemble"}, "an ensemble has"),
        ({"rule": "mean"}, "an ensemble has"),
        ({"members": ("fer-small",)}, "each of `members` must have 3 values"),
        ({"teachers": (("fer-small", "0" * 12),)}, "each of `teachers` must have 3 values"),
        ({"model_options": ((1, 2),)}, "each of `model_options` must have 2 values"),
        ({"seeds": (0, 0)}, "`seeds` must be different integers"),
        ({"seeds": (-1,)}, "`seeds` must be different integers"),
        ({"name": "../mine"}, "`name` is part of file names"),
    ):
        refused(message, **changes)


def test_a_recipe_becomes_a_variant_for_another_split_or_set_of_its_classes_but_never_for_the_course_or_back():
    recipe, course = RECIPES["capstone-model-1"], RECIPES["capstone-model-1@course"]
    for protocol in set(PROTOCOLS) - {"official", "course", "drawn"}:
        variant = for_split(recipe, protocol)
        assert (variant.name, variant.protocol, variant.final) == (f"capstone-model-1@{protocol}", protocol, False)
        assert for_split(variant, protocol) == variant
    assert for_split(recipe, "official") == for_split(recipe, "drawn") == recipe
    for other, protocol, own in ((recipe, "course", "official"), (course, "official", "course")):
        with pytest.raises(ValueError, match=rf"is for the {own} split\. Received: .* {protocol} split\. Choose"):
            for_split(other, protocol)
    for name in ("sep-se", "mini-xception", "capstone-final"):
        variant = for_split(RECIPES[name], "raf-db", classes=FER7)
        assert (variant.name, variant.classes) == (f"{name}@raf-db", RECIPES[name].classes)
    for name, classes, lacks in (("mini-xception", CKPLUS7, "neutral"), ("ferplus-vgg13", FER7, "contempt")):
        with pytest.raises(ValueError, match=rf"needs faces of the classes .*Received: .* without {lacks}\. Choose"):
            for_split(RECIPES[name], "own", classes=classes)
    assert for_split(RECIPES["one-vs-rest-sad"], "raf-db", classes=FER6).positive == "sad"
    assert for_split(RECIPES["ferplus-vgg13"], "drawn", classes=FERPLUS8).final
