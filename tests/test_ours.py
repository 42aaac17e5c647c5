"""What is said of our networks follows from their records: calibration, second views, ingredients, peers."""

import dataclasses
import math

import made_up
import numpy as np
import pandas as pd
import pytest
import scipy.stats

from fer_keras.evaluation import Comparison, calibration_error, with_temperature
from fer_keras.recipes.peers import PEERS
from fer_keras.recipes.spaces import INGREDIENTS
from fer_keras.reporting import ingredients, text, trust
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
    write_run(*made_up.run("fer-small-ensemble"))
    assert text("second-view", "fer-small-ensemble") == "its mirror images were not asked about"
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
    gains = {"mixup": (0.02, 0.021, 0.022), "Adam": (-0.02, -0.021, -0.022), "no erasing": (0.004, -0.004, 0.001)}
    assert set(gains) < set(INGREDIENTS)
    rows = search(gains)
    write_table("search-ingredients", rows)
    found = {name: (number, result) for name, _, number, result in ingredients.gains()}
    assert list(found) == ["mixup", "no erasing", "Adam"], "the best first"
    assert [row[0] for row in FIGURES["ingredients"].inputs()] == list(found)
    # The additive model of change and seed, by least squares; what freedom it leaves is the residual's.
    design = pd.get_dummies(rows[["variant", "seed"]].astype(str), drop_first=True, dtype=float).assign(one=1.0)
    _, (residual,), rank, _ = np.linalg.lstsq(design.to_numpy(), rows["accuracy"].to_numpy(), rcond=None)
    freedom = len(rows) - rank
    half = ingredients.critical_value(3, freedom) * math.sqrt(2 / 3 * residual / freedom)
    for name, (number, result) in found.items():
        assert number == 3
        assert result.difference == pytest.approx(np.mean(gains[name]))
        assert (result.low, result.high) == pytest.approx((result.difference - half, result.difference + half))
    assert text("ingredients-verdict") == (
        "helps: mixup; harms: Adam; makes no difference beyond the seeds: no erasing"
    )


def test_intervals_of_many_changes_hold_together():
    generator = np.random.default_rng(0)
    groups = [generator.normal(size=5) for _ in range(9)]
    theirs = scipy.stats.dunnett(*groups[1:], control=groups[0], rng=0).confidence_interval(0.95)
    error = math.sqrt(2 / 5 * np.mean([group.var(ddof=1) for group in groups]))
    ours = ingredients.critical_value(8, 9 * 4)
    assert (theirs.high - theirs.low) / 2 / error == pytest.approx(np.full(8, ours), rel=2e-3)
    assert ours > 1.1 * ingredients.critical_value(1, 36) == pytest.approx(1.1 * scipy.stats.t.ppf(0.975, 36), rel=2e-3)


def test_of_one_seed_nothing_is_said_nor_of_a_seed_that_is_not_whole(own_folders):
    rows = search({"mixup": (0.01, 0.012, 0.014), "votes": (0.02, 0.0, 0.0)})
    whole = (rows["variant"] != "votes") | (rows["seed"] == 0)
    write_table("search-ingredients", rows[whole])
    assert text("ingredients").splitlines()[2:] == [
        "| votes | 62.0 % | 1 | +2.0 points, without an interval |",
        "| mixup | 61.0 % | 1 | +1.0 points, without an interval |",
    ]
    assert text("ingredients-verdict") == "too few seeds yet to say"
    assert FIGURES["ingredients"].inputs() is None
    write_table("search-ingredients", rows[rows["seed"] < 2])
    assert "| mixup | 61.6 % | 2 |" in text("ingredients")


def test_every_recorded_seed_has_its_row_and_the_mean_is_theirs(own_folders):
    assert (text("seeds", "fer-small"), text("spread", "fer-small")) == (MISSING, MISSING)
    written = [made_up.run("fer-small", seed=seed, skill=skill) for seed, skill in enumerate((1.2, 1.5))]
    for run, history, said in written:
        write_run(run, history, said)
    write_run(*made_up.run("fer-small-distilled", skill=2.0))
    lines = text("seeds", "fer-small", "fer-base", "fer-small-distilled").splitlines()[2:]
    assert [line.split(" | ")[:2] for line in lines] == [
        ["| `fer-small`", "0"],
        ["| `fer-small`", "1"],
        ["| `fer-small-distilled`", "0"],
    ], "fer-base is not recorded and has no row"
    first, second = (run.metrics["test"]["accuracy"] for run, _, _ in written)
    assert f"| {100 * second:.1f} % (" in lines[1]
    assert lines[1].endswith("| - |"), "no mirror images were looked at"
    assert text("spread", "fer-small") == (
        f"{100 * (first + second) / 2:.1f} % on test on average over the seeds 0, 1; "
        f"{100 * abs(second - first):.1f} points between the best and the worst"
    )
    assert text("spread", "fer-small-distilled") == MISSING, "one seed has no spread"


def test_two_recipes_are_compared_over_their_seeds(own_folders):
    words = "seed-difference", "fer-small", "fer-small@weighted"
    skills = {"fer-small": (1.2, 1.3, 1.25), "fer-small@weighted": (1.9, 2.1)}
    written = {
        name: [made_up.run(name, seed=seed, skill=skill) for seed, skill in enumerate(each)]
        for name, each in skills.items()
    }
    for made in [*written["fer-small"], written["fer-small@weighted"][0]]:
        write_run(*made)
    assert text(*words) == MISSING, "one seed has no spread"
    write_run(*written["fer-small@weighted"][1])
    said = text(*words)
    assert said.startswith("2 seeds of `fer-small@weighted` against 3 of `fer-small`, on average: ")
    for split in ("validation", "test"):
        plain, ours = ([run.metrics[split]["accuracy"] for run, _, _ in made] for made in written.values())
        # By hand: one spread of both, and the degrees of freedom that are left of five seeds.
        spread = np.sqrt((np.var(plain, ddof=1) * 2 + np.var(ours, ddof=1)) / 3)
        half = scipy.stats.t.ppf(0.975, 3) * spread * np.sqrt(1 / 3 + 1 / 2)
        middle = np.mean(ours) - np.mean(plain)
        assert f"{Comparison(middle, middle - half, middle + half)} on {split}" in said


def test_leads_are_means_over_seeds_and_five_epochs_of_recipes_of_one_length(own_folders):
    assert FIGURES["leads"].inputs() is None
    written = {
        name: [made_up.run(name, seed=seed) for seed in seeds]
        for name, seeds in {"fer-small": (0, 1), "fer-small@weighted": (3, 4), "fer-small@mixup": (0,)}.items()
    }
    accuracy = {
        name: np.mean([history["val_accuracy"] for _, history, _ in made], axis=0) for name, made in written.items()
    }
    ((run, history, said),) = written["fer-small@mixup"]
    for made in [*written["fer-small"], (dataclasses.replace(run, epochs_run=8, best_epoch=8), history[:8], said)]:
        write_run(*made)
    assert FIGURES["leads"].inputs() is None, (
        "mixup trained fewer epochs: at the same epoch it is elsewhere on its schedule"
    )
    for (run, history, said), seed in zip(written["fer-small@weighted"], (0, 1), strict=True):
        write_run(dataclasses.replace(run, run=run.run.replace(f"s{run.seed}", f"s{seed}"), seed=seed), history, said)
    ((name, found),) = FIGURES["leads"].inputs().items()
    assert name == "fer-small@weighted"
    assert found["epoch"].tolist() == list(range(3, 11))
    difference = accuracy["fer-small@weighted"] - accuracy["fer-small"]
    np.testing.assert_allclose(found["difference"], np.convolve(difference, np.full(5, 0.2), "valid"), atol=1e-5)


def test_settings_say_what_is_learned_beside_labels():
    lines = text("settings", "fer-small", "fer-small-distilled", "fer-small-ferplus").splitlines()[2:]
    assert [line.split(" | ")[1] for line in lines] == [
        "7 classes, official split",
        "7 classes, official split, learns 3 x fer-small",
        "8 classes, official split, learns votes",
    ]


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
