"""Records of runs: written once, read back, checked; recipes, and that no recorded run loses its own."""

import dataclasses
import json
import math
import re

import made_up
import numpy as np
import pandas as pd
import pytest

from fer_keras import paths
from fer_keras.data.dataset import PROTOCOLS
from fer_keras.evaluation import summarise, wilson
from fer_keras.labels import CKPLUS7, FER4, FER7
from fer_keras.models import MODELS
from fer_keras.recipes import RECIPES, SPACES, Recipe, find_recipe, find_space, for_split
from fer_keras.recipes.recipe import CHOICES, RANGES
from fer_keras.results import find_run, find_seeds, read_run, read_runs, read_table, runs, write_run, write_table

COMMITTED = paths.PACKAGE.parent / "reports" / "results"


@pytest.mark.parametrize("name", [path.stem for path in sorted(COMMITTED.glob("runs/*.json"))])
def test_committed_metrics_are_those_of_the_committed_predictions_and_histories_fit(name):
    run = read_run(COMMITTED / "runs" / f"{name}.json")
    if recipe := RECIPES.get(run.recipe_name):  # else nobody could train it again
        assert (run.recipe_digest, run.classes) == (recipe.digest, recipe.classes)
    history = run.history()
    assert tuple(history.columns[: len(runs.HISTORY_COLUMNS)]) == runs.HISTORY_COLUMNS
    assert history["epoch"].tolist() == list(range(1, run.epochs_run + 1))
    assert 0 <= run.best_epoch <= run.epochs_run <= max(run.recipe["epochs"], run.epochs_run)
    assert "validation" in run.metrics
    for split in set(run.metrics) - {"train"}:
        found, recorded = run.predictions(split), run.metrics[split]
        options = {"split": recorded["split"], "views": recorded["views"], "copies": found.copies}
        again = summarise(found.labels, found.probabilities, run.classes, **options)
        assert again.keys() == recorded.keys()
        assert again.pop("log_loss") == pytest.approx(recorded["log_loss"], abs=3e-5)  # of half precision
        for key, value in again.items():
            assert recorded[key] == (pytest.approx(value, abs=2e-6) if isinstance(value, float) else value)


@pytest.fixture
def written(tmp_path):
    return write_run(*made_up.run(), folder=tmp_path / "results")


def test_a_run_comes_back_as_it_was_written_and_the_same_bytes_when_written_again(written, tmp_path):
    run, history, predictions = made_up.run()
    assert read_runs(written.folder) == [written] == [run]
    pd.testing.assert_frame_equal(written.history(), history, rtol=1e-5)
    for split in ("validation", "test"):
        for mine, given in zip(written.predictions(split), predictions[split], strict=True):
            np.testing.assert_array_equal(mine, given)
    again = write_run(run, history, predictions, folder=tmp_path / "again")
    contents = [{path.name: path.read_bytes() for path in each.folder.rglob("*.*")} for each in (written, again)]
    assert contents[0] == contents[1]


def test_rows_and_labels_of_any_size_come_back_and_small_ones_keep_their_types(tmp_path):
    """CK+48's rows begin with the person's number, times 10^11; of 200 classes, int8 holds 128."""
    run, history, found = made_up.run()
    ours, wide = np.load(write_run(run, history, found, folder=tmp_path).place("predictions", "-test.npz")), {}
    assert (ours["rows"].dtype, ours["labels"].dtype) == (np.int32, np.int8)
    for split, each in found.items():
        wide[split] = each._replace(rows=each.rows + 999 * 10**11, labels=each.labels.astype(np.int64) + 190)
    read = write_run(run, history, wide, folder=tmp_path, force=True).predictions("test")
    assert (read.rows.dtype, read.labels.dtype) == (np.int64, np.int16)
    assert read.rows.tolist() == wide["test"].rows.tolist()
    assert read.labels.tolist() == wide["test"].labels.tolist()


def test_a_record_of_something_else_is_refused_unless_forced_and_the_same_result_keeps_the_standing_one(written):
    run, history, predictions = made_up.run()
    slower = dataclasses.replace(run, seconds=9999.0, commit="f" * 40, resumed=2)
    assert write_run(slower, history, predictions, folder=written.folder).resumed == 0
    other = dataclasses.replace(run, best_epoch=3)
    with pytest.raises(ValueError, match=r"append-only.*force"):
        write_run(other, history, predictions, folder=written.folder)
    assert read_runs(written.folder) == [run]
    write_run(other, history, predictions, folder=written.folder, force=True)
    assert read_runs(written.folder) == [other]


def test_only_final_recipes_may_bring_the_test_split_and_a_history_must_fit(tmp_path):
    run, history, predictions = made_up.run()
    recipe = {**run.recipe, "final": False}
    chosen = dataclasses.replace(run, recipe=recipe, metrics={"validation": run.metrics["validation"]})
    short = history.iloc[1:].drop(columns="seconds")
    for call, message in (
        (lambda: dataclasses.replace(run, recipe=recipe), "only if its recipe is marked `final`"),
        (lambda: write_run(chosen, history, predictions, folder=tmp_path), "splits with metrics"),
        (lambda: write_run(run, short, predictions, folder=tmp_path), r"11 rows without \['seconds'"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert not list(tmp_path.rglob("*.*"))
    more = history.assign(val_recall=0.5, precision=0.25, note="x")  # macro columns are kept where there are any
    standing = write_run(chosen, more, {"validation": predictions["validation"]}, folder=tmp_path)
    assert list(standing.history().columns) == [*runs.HISTORY_COLUMNS, "precision", "val_recall"]
    assert standing.scores["split"] == "validation"
    with pytest.raises(ValueError, match="final recipes only"):
        standing.predictions("test")


def test_a_file_that_holds_no_record_or_an_edited_one_is_named(written):
    path = written.place("runs", ".json")
    text, recipes = path.read_text(), ({"epochs": 13}, {"zoom": [0.5, 1.0]}, {"name": "vgg16"})
    edited = [json.dumps(json.loads(text) | {"recipe": written.recipe | recipe}) for recipe in recipes]
    others = {"run": "mini-xception-s0", "schema": 2, "accuracy": 0.9, "recipe": {}, "seconds": "1", "metrics": {}}
    others |= {"data": {}, "classes": None, "recipe_name": 3, "versions": [], "epochs_run": "12"}
    none = [text[:100], "[" * 100_000, "[]", "\xff", *(json.dumps(json.loads(text) | {k: others[k]}) for k in others)]
    none += [text.replace('"validation": {', '"validation": {}, "train": {')]
    for contents, message in (
        (edited, r".* must hold .* of digest \w+\. .*Restore"),
        (none, ": Expected the record of a run"),
    ):
        for content in contents:
            path.write_text(content)
            with pytest.raises(ValueError, match=rf"{path.name} ?{message}"):
                read_runs(written.folder)


def test_a_history_or_predictions_that_are_missing_or_cut_are_named(written):
    for place, read in (
        (written.place("histories", ".csv"), written.history),
        (written.place("predictions", "-test.npz"), lambda: written.predictions("test")),
    ):
        whole = place.read_bytes()
        for content in (b"", b"x", whole[: len(whole) // 2]):
            place.write_bytes(content)
            with pytest.raises(ValueError, match=rf"{place.name}: Expected the .*Restore it, or train"):
                read()
        place.unlink()
        with pytest.raises(ValueError, match=r"Expected the history|no recorded predictions"):
            read()


def test_fields_that_a_recipe_gained_or_lost_do_not_matter_at_their_defaults(tmp_path):
    run, history, predictions = made_up.run(zoom=(0.9, 1.1))
    whole = json.loads(json.dumps(dataclasses.asdict(Recipe(**run.recipe))))
    for recipe in (run.recipe, whole, whole | {"from_the_future": 0}):
        written = write_run(dataclasses.replace(run, recipe=recipe), history, predictions, folder=tmp_path, force=True)
    path = written.place("runs", ".json")
    assert read_run(path).recipe_digest == Recipe(**run.recipe).digest
    path.write_text(path.read_text().replace(run.recipe_digest, run.recipe_digest[:8] + "ffff"))
    with pytest.raises(ValueError, match="a version of fer_keras that knows from_the_future"):
        read_run(path)


def test_a_run_is_found_by_name_or_recipe_without_reading_any_other(tmp_path, monkeypatch):
    made_up.results(tmp_path)
    read = []
    monkeypatch.setattr(runs, "read_run", lambda path: read.append(path.stem) or read_run(path))
    found = find_run("mini-xception", folder=tmp_path)
    assert (found.recipe_name, found.seed, read) == ("mini-xception", 0, [found.run])
    recipe = Recipe(**found.recipe)
    assert find_run(recipe, folder=tmp_path) == found
    missing = (("mini", 0), ("mini-xception", 7), ("mini-xception@*", 0), (recipe, 7))
    for name, seed in (*missing, (dataclasses.replace(recipe, epochs=99), 0)):
        assert find_run(name, seed, folder=tmp_path) is None
    assert len(read) == 2


def test_of_several_records_of_a_name_todays_recipe_is_meant_and_seeds_are_those_of_the_recipe(
    own_folders, monkeypatch
):
    first, second = (write_run(*made_up.run(epochs=epochs)) for epochs in (12, 13))
    with pytest.raises(ValueError, match="older versions"):
        find_run("mini-xception")
    for run in (first, second):
        monkeypatch.setitem(RECIPES, "mini-xception", Recipe(**run.recipe))
        assert find_run("mini-xception") == run
    for seed in (2, 0, 7):
        write_run(*made_up.run("fer-small", seed=seed))
    assert [run.seed for run in find_seeds("fer-small")] == [0, 2]
    with pytest.raises(ValueError, match=r"Received: 'fer-base'.*python -m fer_keras train fer-base"):
        runs.as_run("fer-base")


def test_confusion_per_class_and_majority_follow_from_the_record():
    run = dataclasses.replace(made_up.run("capstone-model-1", data="fer4", stopped="cut short")[0], metrics={})
    labels, predicted = np.repeat(range(4), (4, 3, 2, 1)), np.array([0, 0, 0, 1, 1, 1, 0, 2, 3, 3])
    run.metrics["test"] = summarise(labels, np.eye(4)[predicted], run.classes, split="test")
    confusion, table = run.confusion("test"), run.per_class()
    assert confusion.loc["happy", "sad"] == confusion.loc["surprise", "neutral"] == 1
    assert (confusion.to_numpy().sum(), run.majority("test")) == (10, 0.4)
    assert table["support"].to_dict() == {"happy": 4, "sad": 3, "surprise": 2, "neutral": 1}
    assert table["recall"].tolist() == pytest.approx([3 / 4, 2 / 3, 1 / 2, 1], abs=1e-6)
    assert tuple(table.loc["happy", ["recall_low", "recall_high"]]) == pytest.approx(wilson(3, 4))
    with pytest.raises(ValueError, match=r"no recorded split of .* 'tset'\. Did you mean 'test'"):
        run.metrics_of("tset")


def test_tables_come_back_and_stay_where_nothing_changed_or_a_write_breaks_off(own_folders, monkeypatch):
    counts = pd.DataFrame({"happy": [1, 2]}, index=pd.Index(["train", "test"], name="split"))
    tables = {"audit": {"copies": {"test": 288}, "groups": [1, 2]}, "faces": {"happy": np.eye(2), "sad": np.ones(3)}}
    places = [write_table(name, table) for name, table in (tables | {"counts": counts}).items()]
    before = places[-1].stat().st_mtime_ns
    monkeypatch.delattr(paths.os, "fsync")
    with pytest.raises(AttributeError, match="fsync"):
        write_table("counts", 2 * counts)
    assert write_table("counts", counts).stat().st_mtime_ns == before
    assert sorted(places[0].parent.iterdir()) == sorted(places)
    pd.testing.assert_frame_equal(read_table("counts"), counts)
    np.testing.assert_equal({name: read_table(name) for name in tables}, tables)
    with pytest.raises(ValueError, match=r"no recorded table 'adit'\. Did you mean 'audit'"):
        read_table("adit")


PLAIN = Recipe(name="plain", system="F", title="Plain", model="fer-small", data="fer7")
INTERVALS = {name: interval for interval, names in RANGES.items() for name in names}
FIELDS = dataclasses.fields(Recipe)


def refused(message, **changes):
    with pytest.raises(ValueError, match=rf"Recipe [^:]*: .*{message}"):
        dataclasses.replace(PLAIN, **changes)


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
    for field, value, meant in (
        ("monitor", "val_acc", "val_accuracy"),
        ("monitor", "accuracy", "val_accuracy"),
        ("targets", "vote", "votes"),
        ("data", "fer8", "fer7"),
    ):
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
        *(({"name": name}, "`name` is part of file names") for name in ("../mine", "", "a\nb", "a\0", "ä" * 100)),
        ({"optimizer": "own"}, r"`optimizer` must be one of .*Received: optimizer='own'\. Change optimizer\."),
        ({"protocol": None}, r"`protocol` must .*Change protocol\."),
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
