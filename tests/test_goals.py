"""A goal that is missed is called missed, and the reason is the record's."""

import dataclasses

import made_up
import pytest

from fer_keras.recipes import RECIPES
from fer_keras.reporting import goals


def run(accuracy, *, train=0.7, validation=0.6, **changes):
    """Return a made-up run of emovision-vgg with these accuracies, the test's interval two points to each side."""
    record = made_up.run("emovision-vgg", final=True)[0]
    metrics = {split: dict(scores) for split, scores in record.metrics.items()}
    metrics["test"] |= {"accuracy": accuracy, "accuracy_low": accuracy - 0.02, "accuracy_high": accuracy + 0.02}
    metrics["validation"] |= {"accuracy": validation}
    metrics["train"] = {"accuracy": train}
    return dataclasses.replace(record, metrics=metrics, **changes)


def test_goals_are_of_final_recipes():
    assert all(RECIPES[name].final for name in goals.GOALS)


@pytest.mark.parametrize(
    ("accuracy", "words"),
    [(0.62, "the 62 % that we aimed at: reached"), (0.61, "missed, within its interval. It"), (0.59, ": missed. It")],
)
def test_a_goal_is_reached_or_missed(accuracy, words):
    said = goals.goal(run(accuracy))
    assert said.startswith(f"{100 * accuracy:.1f} % ({100 * accuracy - 2:.1f} to {100 * accuracy + 2:.1f}) against the")
    assert words in said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stopped": "cut short", "epochs_run": 3}, "cut short after 3 of at most 12 epochs"),
        ({"train": 0.75}, "by heart: 75.0 % of the images it learned from and 60.0 % of validation's are right"),
        ({"train": 0.62}, "does not fit even its training images well: 62.0 %"),
    ],
)
def test_the_reason_is_what_the_record_tells(changes, words):
    assert words in goals.goal(run(0.5, **changes))


def test_a_recipe_without_a_goal_is_refused():
    with pytest.raises(ValueError, match="No goal is set for 'mini'"):
        goals.goal(dataclasses.replace(made_up.run("mini")[0]))
