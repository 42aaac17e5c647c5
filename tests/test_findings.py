"""What is said of records: comparisons, levels, and what a recipe sets."""

import made_up
import pytest

from fer_keras import paths
from fer_keras.data.synthetic import drawn_faces
from fer_keras.evaluation import compare
from fer_keras.labels import SPLITS
from fer_keras.recipes import RECIPES
from fer_keras.reporting import findings, from_data, text
from fer_keras.reporting.runs import find_run, write_run
from fer_keras.reporting.sentences import MISSING
from fer_keras.reporting.tables import write_table

COUNTS = {"train": {"happy": 6, "sad": 2}, "validation": {"happy": 3, "sad": 1}, "test": {"happy": 1, "sad": 3}}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A project with made-up records and tables."""
    monkeypatch.setattr(paths, "project", lambda: tmp_path)
    monkeypatch.delenv("FER_KERAS_RESULTS", raising=False)
    made_up.results(tmp_path / "reports" / "results")
    agreement = {"all": 0.6, "happy": 0.9, "sad": 0.25}
    write_table("audit", {"counts": COUNTS, "agreement": {"test": agreement}})
    write_table("course", {"official_split": {split: {"train": 1000, "validation": 2, "test": 3} for split in SPLITS}})
    return tmp_path


def test_a_comparison_says_which_is_better_on_the_same_images():
    first, second = (find_run(name).predictions("test") for name in ("emovision-baseline", "mini-xception"))
    result = compare(first.labels, first.probabilities, second.probabilities)
    assert not result.no_difference
    expected = f"`mini-xception` is better than `emovision-baseline` on the same 240 test images: {result}."
    assert text("comparison", "emovision-baseline", "mini-xception") == expected
    assert text("comparison", "mini-xception", "emovision-baseline").startswith("`emovision-baseline` is worse than")
    same = text("comparison", "mini-xception", "mini-xception")
    assert same.startswith("There is no difference between `mini-xception` and `mini-xception` on the same 240 test")
    assert same.count("no difference") == 1


def test_a_comparison_says_which_run_was_cut_short():
    made_up.write_run(*made_up.run("general", skill=0.9, stopped="cut short"))
    assert text("comparison", "mini-xception", "general").endswith("). Cut short: `general`.")
    assert "ut short" not in text("comparison", "mini-xception", "emovision-baseline")


def levels(**scores):
    """Return what `against` says of a run with these scores."""
    record = made_up.run("level", published=40.0, published_split="validation", final=True)[0]
    record.metrics["test"].update(accuracy=0.5, accuracy_low=0.45, accuracy_high=0.55)
    record.metrics["test"].update(scores)
    record.metrics["validation"].update(accuracy=0.3, accuracy_low=0.25, accuracy_high=0.35)
    return record


def test_a_run_is_held_against_levels():
    record = levels()
    rows = [sum(row) for row in record.metrics["test"]["confusion"]]
    most = max(rows) / sum(rows)
    expected = f"{50 - 100 * most:.1f} points above naming the commonest class for everything ({100 * most:.1f} %)"
    assert findings.against(record, "majority") == expected
    assert findings.against(record, "human") == "15.0 points below what people are put at (about 65 %)"
    assert findings.against(record, "published") == "10.0 points below the published 40 % (validation)"
    assert findings.against(levels(accuracy_high=0.66), "human").startswith("no different from what people")
    with pytest.raises(ValueError, match=r"no level 'x'.*majority, human, published"):
        findings.against(record, "x")


def test_a_level_that_a_run_does_not_have_is_named():
    with pytest.raises(ValueError, match=r"no level 'published'.*majority"):
        text("against", "capstone-model-1", "published")


def test_the_story_of_a_training_is_told_from_its_history():
    expected = "the learning rate fell before epoch 10; it stopped early after 12 epochs, and epoch 9 was kept"
    assert text("stopping", "mini-xception") == expected
    assert text("stopping", "vgg16") == MISSING


def test_a_rate_that_falls_all_the_time_is_not_told_fall_by_fall(own_folders):
    write_run(*made_up.run("fer-small", schedule="cosine"))
    expected = "the learning rate followed a cosine; it stopped early after 12 epochs, and epoch 9 was kept"
    assert text("stopping", "fer-small") == expected


def test_an_interval_is_as_wide_as_it_is():
    scores = find_run("capstone-model-1").metrics["test"]
    assert text("width", "capstone-model-1") == f"{100 * (scores['accuracy_high'] - scores['accuracy_low']):.1f} points"


def test_the_best_is_the_best_of_its_kind():
    assert text("best", "7").startswith("`mini-xception` with ")
    assert text("best", "4", "course").startswith("`capstone-model-1@course` with ")
    assert text("best", "5") == MISSING


def test_counts_and_agreement_come_from_the_audit():
    assert (text("images"), text("images", "test")) == ("16", "4")
    assert text("agreed") == "most on happy (90 %), least on sad (25 %)"
    assert text("majority", "test", "2") == "75.00 %"
    assert text("published-lead", "emovision-baseline") == f"{RECIPES['emovision-baseline'].published - 75:+.2f} points"


def test_recall_is_set_against_agreement_by_rank():
    scores = find_run("capstone-model-1").metrics["test"]["per_class"]
    order = sorted(scores, key=lambda name: scores[name]["recall"])
    write_table("audit", {"agreement": {"test": {name: rank**2 for rank, name in enumerate(order)} | {"all": 9.0}}})
    assert text("recall-agreement", "capstone-model-1") == "1.00"
    write_table("audit", {"agreement": {"test": {name: -rank for rank, name in enumerate(order)} | {"all": 9.0}}})
    assert text("recall-agreement", "capstone-model-1") == "-1.00"


def test_the_course_table_says_where_its_images_belong():
    lines = text("origin").splitlines()
    assert lines[0] == "|  | official Training | official PublicTest | official PrivateTest | images |"
    assert lines[2] == "| course train | 1,000 | 2 | 3 | 1,005 |"
    assert len(lines) == 2 + len(SPLITS)


def test_without_tables_it_says_so(project):
    for path in (project / "reports" / "results" / "tables").iterdir():
        path.unlink()
    said = [text("origin"), text("images"), text("agreed"), text("published-lead", "emovision-eyes")]
    assert said == [MISSING] * 4


def test_settings_are_those_of_the_recipes():
    lines = text("settings", "mini-xception", "emovision-baseline", "capstone-model-1").splitlines()
    recipe = RECIPES["mini-xception"]
    assert f"| {recipe.batch_size} | up to {recipe.epochs} | adam, {recipe.learning_rate:g} |" in lines[2]
    assert lines[2].endswith("| flip, rotation 10°, shift 0.1, zoom 0.9 to 1.1 |")
    assert lines[3].endswith("| none |")
    assert "brightness 0 to 2" in lines[4]


def test_what_was_not_run_is_missing():
    assert "`vgg16`" in text("missing")
    assert "`mini-xception`" not in text("missing")


def test_a_variant_does_not_hide_the_recipe_of_the_same_name():
    current = RECIPES["mini-xception"].digest
    made_up.write_run(*made_up.run("mini-xception", skill=0.3, digest=current))
    assert find_run("mini-xception").recipe_digest == current


def test_forms_are_told_by_the_official_splits_in_them():
    assert text("forms") == MISSING
    faces = drawn_faces(40, seed=1)
    write_table("forms", from_data.forms(faces))
    counts = faces.counts()["total"]
    rows = text("forms").splitlines()
    official = next(line for line in rows if line.startswith("| fer2013.csv"))
    assert (
        f"| {counts['train']} Training | {counts['validation']} PublicTest | {counts['test']} PrivateTest |" in official
    )
    challenge = next(line for line in rows if line.startswith("| the challenge"))
    assert "Test" not in challenge, "train.csv holds Training rows alone"
    unnamed = next(line for line in rows if "other names" in line)
    assert f"| {counts['validation']} PublicTest, {counts['test']} PrivateTest |" in unnamed
    assert "&lt;emotion&gt;" in unnamed, "a browser would take it for a tag"
    validated = next(line for line in rows if "of any Usage" in line)
    assert "| 28,821 of any Usage | 7,066 of any Usage | - |" in validated


def test_speed_is_told_with_its_goals():
    assert text("speed") == MISSING
    entry = {"against": "bytes", "goal": 15, "goal_is": "at most", "met": True, "measured": "1 against 0.2 s"}
    entry |= {"ratio": 5.0, "ratio_low": 4.0, "ratio_high": 6.0, "ratio_by_processor": None}
    write_table("speed", {"CSV: strict parse / bytes": entry, "CSV: first load / bytes": {**entry, "met": False}})
    lines = text("speed").splitlines()
    assert lines[2] == "| CSV: first load | bytes | 5 (4 to 6) | - | at most 15, not met | 1 against 0.2 s |"
    assert lines[3].startswith("| CSV: strict parse | bytes | 5 (4 to 6) | - | at most 15, met |")


def test_an_ensemble_trained_nothing_and_was_not_asked_about_training_images(own_folders):
    run, history, said = made_up.run("fer-ensemble", stopped="combined")
    write_run(run, history, said)
    assert text("training", "fer-ensemble") == "its members' answers were combined, no network was trained"
    assert text("stopping", "fer-ensemble") == text("training", "fer-ensemble")
    assert text("gap", "fer-ensemble") == f"{100 * run.metrics['validation']['accuracy']:.1f} % on validation"


def test_the_time_of_an_ensemble_is_not_counted_beside_its_members(own_folders):
    write_run(*made_up.run("fer-small"))
    alone = text("total-time")
    write_run(*made_up.run("fer-ensemble", stopped="combined"))
    assert text("total-time") == alone != "0 min"
