"""What is said of our networks follows from their records: calibration, second views, ingredients, peers."""

import dataclasses

import made_up
import numpy as np
import pandas as pd
import pytest

from fer_keras.evaluation import calibration_error, with_temperature
from fer_keras.recipes.peers import PEERS
from fer_keras.recipes.spaces import INGREDIENTS
from fer_keras.reporting import text, trust
from fer_keras.reporting.catalogue import FIGURES
from fer_keras.reporting.runs import find_run, write_run
from fer_keras.reporting.sentences import MISSING
from fer_keras.reporting.tables import write_table


def test_a_temperature_is_fitted_on_validation_and_told_on_test(own_folders):
    sharp = made_up.run("fer-small", skill=1.0)  # calibrated by construction: noise and signal of one unit
    found = {
        split: said._replace(probabilities=with_temperature(said.probabilities, 0.4))
        for split, said in sharp[2].items()
    }
    write_run(*sharp[:2], found)
    temperature, labels, means = trust.calibrated(find_run("fer-small"))
    assert 2 < temperature < 4, "probabilities sharpened by .4 need about 1 / .4"
    errors = [calibration_error(labels, said) for said in means.values()]
    assert errors[1] < errors[0] / 2
    said = text("calibration", "fer-small")
    assert f"| `fer-small` | {temperature:.2f} | {100 * errors[0]:.1f} % | {100 * errors[1]:.1f} % |" in said
    assert text("confidence", "fer-small").startswith("it is too sure of itself: its temperature is")
    assert set(FIGURES["reliability-fer-small"].inputs()["mini-xception"]) == set(means)


def test_what_is_not_scored_on_test_has_no_calibration(own_folders):
    write_run(*made_up.run("fer-small", final=False))
    assert text("calibration", "fer-small") == MISSING
    assert text("confidence", "fer-small") == MISSING
    assert FIGURES["reliability-fer-small"].inputs() is None
    assert FIGURES["reliability-fer-base"].inputs() is None
    assert text("peers", "fer-small") == MISSING


def test_a_second_view_is_compared_as_a_pair(own_folders):
    run, history, said = made_up.run("fer-small")
    better = said["test"]._replace(probabilities=np.eye(7)[said["test"].labels])
    metrics = run.metrics | {"test_flip": run.metrics["test"] | {"views": "flip"}}
    assert text("second-view", "fer-small") == MISSING
    write_run(dataclasses.replace(run, metrics=metrics), history, said | {"test_flip": better})
    gain = 100 * (1 - run.metrics["test"]["accuracy"])
    assert f"with the mirror image too: +{gain:.1f} points" in text("second-view", "fer-small")


def search(gains):
    """Return a made-up table of the search of ingredients: three seeds, each change a gain a seed."""
    names = ["as it is", *gains]
    rows = [
        {"variant": name, "seed": seed, "accuracy": 0.6 + seed / 100 + (gains[name][seed] if name in gains else 0)}
        for name in names
        for seed in range(3)
    ]
    return pd.DataFrame(rows)


def test_an_ingredient_is_held_against_the_recipe_with_the_same_seed(own_folders):
    assert text("ingredients") == MISSING
    assert FIGURES["ingredients"].inputs() is None
    gains = {"mixup": (0.010, 0.011, 0.012), "Adam": (-0.02, -0.021, -0.022), "no erasing": (0.02, -0.02, 0.001)}
    assert set(gains) < set(INGREDIENTS)
    write_table("search-ingredients", search(gains))
    # Student's quantile for two degrees of freedom is 4.3027: 1.1 points, give or take 4.3027 x 0.1 / sqrt(3).
    assert "| mixup | 62.1 % | 3 | +1.1 points (+0.9 to +1.3) |" in text("ingredients")
    assert text("ingredients-verdict") == (
        "helps: mixup; harms: Adam; makes no difference beyond the seeds: no erasing"
    )
    assert [row[0] for row in FIGURES["ingredients"].inputs()] == ["mixup", "no erasing", "Adam"]


def test_of_one_seed_nothing_is_said(own_folders):
    rows = search({"mixup": (0.01, 0.012, 0.014), "votes": (0.02, 0.0, 0.0)})
    write_table("search-ingredients", rows[(rows["variant"] != "votes") | (rows["seed"] == 0)])
    assert text("ingredients").splitlines()[-1] == "| votes | 62.0 % | 1 | +2.0 points, without an interval |"
    assert text("ingredients-verdict") == "helps: mixup; too few seeds yet to say: votes"


@pytest.mark.parametrize(
    ("share", "words"), [(0.75, "9.6 points above"), (0.5, "15.4 points below"), (0.65, "no different from")]
)
def test_a_network_is_held_against_what_people_install(own_folders, share, words):
    run, history, said = made_up.run("fer-small")
    scores = {"accuracy": share, "accuracy_low": share - 0.015, "accuracy_high": share + 0.015}
    write_run(dataclasses.replace(run, metrics=run.metrics | {"test": run.metrics["test"] | scores}), history, said)
    assert text("lead", "fer-small").startswith(words)
    table = text("peers", "fer-small", "fer-base")
    assert table.count("\n") == 2 + len(PEERS), "a network that is not recorded has no row"
    assert PEERS[0].chosen_on in table
