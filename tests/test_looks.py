"""Tables and figures of where networks look say what is recorded, and nothing where nothing is."""

import numpy as np
import pytest

from fer_keras.evaluation.heat import REGIONS, SHARES
from fer_keras.evaluation.robustness import DAMAGES
from fer_keras.labels import FER4, FER7
from fer_keras.reporting import figures, looks, text
from fer_keras.reporting.catalogue import errors
from fer_keras.reporting.tables import write_table


def value(mean, half=0.01):
    return {"mean": mean, "low": mean - half, "high": mean + half}


def explained(*, hot="mouth", ahead=0.2):
    """Return made-up records of one network: all its heat but the even part lies on one part of the face."""
    regions = {name: value(0.5 * looks.EVEN[name] + 0.5 * (name == hot)) for name in REGIONS}
    curve = np.linspace(0.8, 0.2, len(SHARES)).tolist()
    maps = {
        "occlusion": {"curve": curve, "sooner_than": dict.fromkeys(looks.RIVALS, value(ahead))},
        "grad-cam": {"curve": curve, "sooner_than": dict.fromkeys(looks.RIVALS, value(0.002))},
    }
    rivals = {name: {"curve": curve} for name in errors.RIVALS}
    return {
        "sha256": "ab",
        "split": "validation",
        "classes": list(FER7),
        "num_images": 1234,
        "shares": list(SHARES),
        "deletion": {fill: maps | rivals for fill in looks.FILLS},
        "emotions": {
            method: {name: {"num_images": 10, "regions": regions} for name in FER7} for method in errors.METHODS
        },
    }


def hurt(whole=0.6, classes=FER7):
    """Return made-up records of damage: each level costs a tenth of the accuracy, mouths twice that."""
    rows = [
        {"kind": kind, "level": level, "accuracy": found, "accuracy_low": found - 0.02, "accuracy_high": found + 0.02}
        for kind, (_, levels) in DAMAGES.items()
        for step, level in enumerate(levels)
        for found in [whole - whole * 0.1 * step * (2 if kind == "mouth covered" else 1)]
    ]
    return {"sha256": "ab", "split": "validation", "classes": list(classes), "num_images": 99, "rows": rows}


@pytest.fixture
def records(recorded_project):
    names = {"mini-xception": 0.5, "emovision-baseline": 0.6}
    write_table(looks.EXPLAIN, {name: explained() for name in names})
    write_table(looks.ROBUSTNESS, {name: hurt(whole) for name, whole in names.items()} | {"four": hurt(0.9, FER4)})
    maps = {
        f"mini-xception/{method}/{name}": np.full((48, 48), 9, np.uint8) for method in errors.METHODS for name in FER7
    }
    write_table(looks.MEAN_HEAT, maps)
    write_table("mean_faces", {name: np.full((48, 48), 99, np.uint8) for name in FER7})
    return recorded_project


def test_nothing_is_said_of_what_is_not_recorded(recorded_project):
    for name in looks.BLOCKS:
        assert text(name, "mini-xception") == "(not recorded yet)"
    assert all(figures.draw(name) is None for name in errors.FIGURES)
    assert looks.looked_into() == []


def test_seven_class_networks_are_looked_into_the_best_first(records):
    assert looks.looked_into() == ["emovision-baseline", "mini-xception"]
    assert text("faithfulness", "vgg16") == "(not recorded yet)"


def test_a_map_that_is_not_ahead_of_chance_is_said_to_be_none(records):
    lines = text("faithfulness", "mini-xception").splitlines()
    assert lines[2].startswith("| occlusion | +20.0 (+19.0 to +21.0) |")
    assert lines[3].startswith("| grad-cam | no difference: +0.2 (-0.8 to +1.2) |")
    assert text("true-maps", "mini-xception", "blur") == (
        "on 1,234 faces that `mini-xception` names rightly, what occlusion marks matters more than what chance marks; "
        "what grad-cam marks does not"
    )


def test_heat_is_held_against_an_even_map(records):
    lines = text("read-from", "mini-xception").splitlines()
    assert lines[0] == "| `mini-xception`, occlusion | faces | forehead | brows | eyes | nose | mouth | chin |"
    assert lines[2] == "| angry | 10 | 0.5 | 0.5 | 0.5 | 0.5 | 2.6 | 0.5 |"
    assert text("hottest", "mini-xception") == "angry, disgust, fear, happy, sad, surprise and neutral at the mouth"


def test_parts_whose_intervals_overlap_are_not_told_apart(records):
    found = explained()
    regions = {name: value(looks.EVEN[name] * (1.5 if name == "eyes" else 1.4)) for name in ("eyes", "brows")}
    found["emotions"]["occlusion"] = {
        "sad": {"num_images": 3, "regions": found["emotions"]["occlusion"]["sad"]["regions"] | regions}
    }
    found["emotions"]["occlusion"]["sad"]["regions"]["mouth"] = value(0.01)
    write_table(looks.EXPLAIN, {"mini-xception": found})
    assert text("hottest", "mini-xception") == "sad at eyes and brows alike"


def test_a_loss_is_clear_where_the_intervals_are_apart(records):
    lines = text("damages", "mini-xception", "vgg16").splitlines()
    assert lines[2] == "| blur | sigma of a Gaussian in pixels, up to 3 | 0.5 | 25.0 % (23.0 to 27.0) |"
    assert text("covered", "mini-xception") == (
        "of 50.0 % on whole faces, covering the mouth costs `mini-xception` 30.0 points and covering the eyes 15.0"
    )
    write_table(looks.ROBUSTNESS, {"mini-xception": hurt(0.1)})
    assert "| none |" in text("damages", "mini-xception")


def test_every_figure_that_can_be_is_drawn(records):
    drawn = {name for name in errors.FIGURES if (figure := figures.draw(name)) and len(figure.png(dpi=60)) > 1000}
    assert drawn >= {"heat-mini-xception", "regions-mini-xception", "deletion", "robustness", "confusions"}
    assert not {name for name in drawn if name.endswith(("fer-small", "fer-base"))}
    panels = figures.draw("confusions").axes
    assert [axes.get_title(loc="left") for axes in panels] == ["emovision-baseline, test", "mini-xception, test"]
    titles = [axes.get_title(loc="left") for axes in figures.draw("robustness").axes]
    assert titles == [*DAMAGES, ""]


def test_confusions_are_ordered_by_their_share_of_the_true_class():
    from fer_keras.reporting import plotting

    counts = [[8, 2, 0], [6, 90, 4], [0, 50, 50]]
    (axes,) = plotting.confusions({"one": counts}, ("happy", "sad", "fear"), most=3).axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["fear → sad", "happy → sad", "sad → happy"]
    assert [round(bar.get_width(), 2) for bar in axes.patches] == [0.5, 0.2, 0.06]
