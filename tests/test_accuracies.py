"""The table of all accuracies, what holds a run back, and what is mistaken for what."""

import copy
import dataclasses

import made_up
import pytest

from fer_keras.recipes import RECIPES
from fer_keras.reporting import goals, leaderboard, sentences, text
from fer_keras.reporting.runs import find_run
from fer_keras.reporting.sentences import MISSING
from fer_keras.reporting.tables import write_table

CUT = "was cut short after 12 epochs, and epoch 9 was kept."
FINAL = {"data": "fer4", "system": "C", "model": "capstone-final", "epochs": 35}


@pytest.fixture(autouse=True)
def project(recorded_project):
    """A project with made-up records."""
    return recorded_project


def rows(said):
    """Return the cells of each line of Markdown that is a row of a table, by its first cell."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in said.splitlines() if line[:1] == "|"]
    return {line[0]: line[1:] for line in cells}


def test_all_networks_of_a_system_have_a_row_recorded_or_not():
    said = text("accuracies", "C")
    system = [recipe for recipe in RECIPES.values() if recipe.system == "C"]
    found = rows(said)
    assert {f"`{recipe.name}`" for recipe in system} <= {name.removesuffix(", cut short") for name in found}
    assert found["`vgg16`"] == ["ImageNet", MISSING, "-", "-", "-"]
    assert found["`vgg16@finetuned`"][0] == "`vgg16`"
    run = find_run("capstone-model-1")
    scores = [sentences.with_interval(run.metrics[split]) for split in ("validation", "test")]
    assert found["`capstone-model-1`"] == ["random values", "9 of 12", "-", *scores]


def test_splits_that_cannot_be_compared_stand_apart_with_their_images():
    official, course = text("accuracies", "C").split("**4 classes, course split**")
    assert official.startswith("**4 classes, official split**\n\n| recipe |")
    assert "`capstone-model-1@course`, cut short" in rows(course)
    assert "`capstone-model-1`" in rows(official)
    assert "test (240 images)" in rows(official)["recipe"]


def test_without_records_no_number_of_images_is_claimed():
    assert rows(text("accuracies", "sep-baseline"))["recipe"][-3:] == ["train", "validation", "test"]


def test_a_recipe_that_is_not_final_has_no_test_score():
    made_up.write_run(*made_up.run("fer-small", data="fer7", final=False, weights="own.keras"))
    said = rows(text("accuracies", "fer-small"))["`fer-small`"]
    assert (said[0], said[-1]) == ("own.keras", "-")
    assert said[-2] != "-"


def test_a_name_of_neither_recipe_nor_system_is_refused():
    with pytest.raises(ValueError, match="no recipe 'Z'"):
        text("accuracies", "Z")


def test_where_a_network_starts_is_read_from_its_recipe():
    starts = [{}, {"weights": "imagenet"}, {"weights": None, "start_recipe": "vgg16"}, {"members": ["a", "b"]}]
    assert list(map(leaderboard.starts_from, starts)) == ["random values", "ImageNet", "`vgg16`", "its members"]


def test_the_last_learning_rate_is_told_from_the_history():
    run = made_up.write_run(*made_up.run("capstone-final", **FINAL, stopped="cut short"))
    history = run.history()
    said = text("last-rate", "capstone-final")
    assert said.startswith(
        "Of at most 35 epochs: the learning rate fell before epoch 10; it was cut short after 12 epochs"
    )
    assert said.endswith("and epoch 9 was kept. Epochs at the last rate: 3; none of them was kept.")
    said = goals.last_rate(dataclasses.replace(run, best_epoch=12))
    assert said.endswith(
        "3; one of them was kept. The epoch that was kept is the last: validation was still improving."
    )
    history.assign(learning_rate=1e-3).to_csv(run.place("histories", ".csv"), index=False)
    assert text("last-rate", "capstone-final").endswith(f"never fell; it {CUT}")
    assert text("last-rate", "vgg16") == MISSING


def test_people_are_asked_about_the_class_that_is_known_worst():
    run = find_run("capstone-model-1")
    recalls = {name: scores["recall"] for name, scores in run.scores["per_class"].items()}
    worst = min(recalls, key=recalls.get)
    plain = f"It knows {worst} worst, with a recall of {100 * recalls[worst]:.0f} %"
    assert text("worst-labels", "capstone-model-1") == f"{plain}."
    write_table("audit", {"agreement": {"test": dict.fromkeys(run.classes, 0.9) | {worst: 0.25}}})
    voters = f"FER+'s voters share 25 % of the test labels of {worst}."
    assert text("worst-labels", "capstone-model-1") == f"{plain}; {voters}"
    assert "FER+" not in text("worst-labels", "capstone-model-1@course"), "its test rows are not those of the audit"


def mistaken(confusion):
    """Return what is said of a made-up run with this confusion matrix."""
    record = copy.deepcopy(made_up.run("capstone-final", **FINAL)[0])
    record.metrics["test"]["confusion"] = confusion
    return sentences.mistakes(record)


def test_mistakes_are_counted_by_class_and_by_pair():
    # happy, sad, surprise, neutral: 8 mistakes, 7 of them with neutral, 6 between sad and neutral.
    assert mistaken([[9, 0, 1, 0], [0, 5, 0, 4], [0, 0, 9, 0], [1, 2, 0, 9]]) == (
        "8 of 40 test images are mistaken; neutral has a part in 88 % of these, "
        "and sad and neutral are taken for one another in 75 %"
    )
    nothing = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert mistaken(nothing) == "none of 4 test images is mistaken"
