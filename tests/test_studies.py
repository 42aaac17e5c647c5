"""The studies: each number follows from recorded predictions and tables, as scikit-learn, SciPy or a hand has it."""

import dataclasses
import itertools
from types import SimpleNamespace

import made_up
import numpy as np
import pandas as pd
import pytest
from sklearn import metrics
from small_networks import small

from fer_keras import results
from fer_keras.data import DataError
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.evaluation import difference, summarise, wilson
from fer_keras.evaluation.metrics import compare_precision
from fer_keras.labels import FER4, FER7, FERPLUS_VOTES, REST, SPLITS
from fer_keras.recipes import RECIPES, SPACES, Space
from fer_keras.recipes.published import PEERS
from fer_keras.results import Predictions, combine, find_run, read_runs, read_table, runs, write_run, write_table
from fer_keras.training import fit, trainer

TOTAL = 700
LABELS = np.arange(TOTAL) % 7
SINGLES = [f"one-vs-rest-{name}" for name in FER7]
GRID = {"learning_rate": [0.1, 0.001], "batch_size": [32, 64], "epochs": [2]}
DIFFERENCE = ["difference", "low", "high"]


def ends(low, middle, high, name="accuracy"):
    return {name: middle, f"{name}_low": low, f"{name}_high": high}


def test_starting_points_are_held_against_random_initialisation_with_as_many_images(own_folders):
    right = {
        (None, False): (2000, 900),
        (None, True): (1000, 800),
        ("fer-small@three", True): (1600, 910),
        ("fer-small@short", False): (2100, 2020),
    }
    cells = [
        {"start_recipe": start, "frozen_body": frozen, "train_images": size, "validation_images": 2570}
        | ends(wilson(hits, 2570)[0], hits / 2570, wilson(hits, 2570)[1])
        for (start, frozen), counts in right.items()
        for size, hits in zip((20181, 316), counts, strict=True)
    ]
    write_table("search-transfer", pd.DataFrame(cells[::-1]).rename_axis("place"))
    table = results.transfer_study().fillna({"verdict": "none"})
    lines = table.groupby(["start", "backbone"], sort=False)["verdict"].agg(list).to_dict()
    assert list(lines.items())[:2] == [
        (("random initialisation", "trained"), ["none", "none"]),
        (("random initialisation", "frozen"), ["worse", "worse"]),
    ]
    assert lines["seven classes", "trained"] == ["better", "better"]
    assert lines["three other classes", "frozen"] == ["worse", "no difference"]
    base, few = (read_table("search-transfer").query("train_images == 316").iloc[place] for place in (-1, 0))
    found = table.query("start == 'seven classes' and train_images == 316")[DIFFERENCE]
    assert found.to_numpy().tolist() == [list(dataclasses.astuple(difference(base, few)))]


@pytest.mark.parametrize(
    ("accuracies", "ranges"),
    [
        ((0.2, 0.3, 0.6, 0.52), {"learning_rate": 0.31, "batch_size": 0.01}),
        ((0.2, 0.6, 0.21, 0.62), {"batch_size": 0.405, "learning_rate": 0.015}),
    ],
)
def test_a_grid_shows_which_setting_matters_and_where_the_recipe_stands(own_folders, monkeypatch, accuracies, ranges):
    monkeypatch.setitem(SPACES, "small", Space("small", "sep-baseline", GRID, "a test"))
    cells = [
        dict(zip(GRID, values, strict=True)) | ends(share - 0.01, share, share + 0.01)
        for values, share in zip(itertools.product(*GRID.values()), accuracies, strict=True)
    ]
    write_table("search-small", pd.DataFrame(cells).sort_values("accuracy", ascending=False, ignore_index=True))
    assert results.grid("small").query("own")[["learning_rate", "batch_size"]].to_numpy().tolist() == [[0.001, 32]]
    means = results.grid_means("small")
    assert means["setting"].iloc[0] == next(iter(ranges))
    assert means.groupby("setting")["range"].first().to_dict() == pytest.approx(ranges)
    assert means.set_index("setting")["no_difference"].to_dict() == {name: ranges[name] < 0.02 for name in ranges}
    assert means.query("setting == 'learning_rate' and value == 0.1")["accuracy"].item() == np.mean(accuracies[:2])


# One against the rest, ensembles


def probabilities(skill, seed):
    """Seven probabilities of each image: the higher the skill, the better."""
    scores = np.random.default_rng(seed).normal(size=(TOTAL, 7))
    scores[np.arange(TOTAL), LABELS] += skill
    return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)


def record(name, labels, found, classes=FER7, **options):
    """Record a made-up run of a recipe with these predictions on validation and test."""
    fields = ("model", "positive", "published", "published_split", "members", "rule")
    run, history, _ = made_up.run(name, **{field: getattr(RECIPES[name], field) for field in fields}, **options)
    predictions = Predictions(np.arange(len(labels)), labels, found, np.zeros(len(labels), bool))
    scores = {split: summarise(labels, found.astype(np.float16), classes, split=split) for split in run.metrics}
    write_run(dataclasses.replace(run, metrics=scores), history, dict.fromkeys(scores, predictions))


def record_single(name, found, **options):
    """Record a made-up network that knows one emotion, from its probabilities."""
    labels = (FER7.index(name) == LABELS).astype(int)
    record(f"one-vs-rest-{name}", labels, np.stack([1 - found, found], axis=1), (REST, name), **options)


def test_single_networks_are_scored_as_scikit_learn_scores_them_and_held_against_the_majority(own_folders):
    found = probabilities(2.0, seed=5)[:, 3].astype(np.float16)
    record_single("happy", found)
    record_single("disgust", np.full(TOTAL, 0.1))
    record_single("fear", np.full(TOTAL, 0.9), stopped="cut short")
    table, truth = results.one_vs_rest().set_index("emotion"), LABELS == 3
    row = table.loc["happy"]
    assert row[["split", "num_images", "views"]].tolist() == ["test", TOTAL, "single"]
    expected = {"share": 1 / 7, "majority": 6 / 7, "accuracy": np.mean((found > 0.5) == truth)}
    expected["balanced_accuracy"] = metrics.balanced_accuracy_score(truth, found > 0.5)
    expected["average_precision"] = metrics.average_precision_score(truth, found)
    expected["roc_auc"] = metrics.roc_auc_score(truth, found)
    expected |= {"difference": expected["accuracy"] - 6 / 7, "published": RECIPES["one-vs-rest-happy"].published / 100}
    assert row[list(expected)].to_dict() == pytest.approx(expected, abs=2e-6)
    assert table["verdict"].to_dict() == {"disgust": "no difference", "fear": "below", "happy": "above"}
    assert table["stopped_by_time"].to_dict() == {"disgust": False, "fear": True, "happy": False}
    published = results.majority_baseline().set_index("emotion")
    assert published.loc["disgust"].tolist() == pytest.approx([0.9843, 1 - 111 / 7066, 1 - 55 / 3589, True])
    assert published["published_is_majority"].all()


def test_sources_are_ranked_in_both_directions_and_an_ensemble_beside_its_members(own_folders):
    for index, name in enumerate(FER7):
        record_single(name, probabilities(1.0, seed=1)[:, index])
    for name, skill, seed in (("general", 3.0, 2), ("stacking", 5.0, 3), ("ensemble-single", 1.0, 1)):
        record(name, LABELS, probabilities(skill, seed))
    table, found = results.one_vs_rest("general"), find_run("general").predictions("test").probabilities
    shares = found / found.sum(axis=1, keepdims=True, dtype=float)
    expected = [metrics.average_precision_score(index == LABELS, shares[:, index]) for index in range(7)]
    assert table["emotion"].tolist() == list(FER7)
    assert table["average_precision"].tolist() == pytest.approx(expected, abs=1e-6)
    assert table["published"].isna().all(), "nothing was published of it"
    better = results.precision_gains("one-vs-rest", "general").set_index("emotion")
    worse = results.precision_gains("general", "one-vs-rest").set_index("emotion")
    assert (set(better["verdict"]), set(worse["verdict"])) == ({"better"}, {"worse"})
    fear = find_run("one-vs-rest-fear").predictions("test").probabilities[:, 1]
    gain = compare_precision(LABELS == 2, fear, found[:, 2])
    assert better.loc["fear", DIFFERENCE].tolist() == list(dataclasses.astuple(gain))
    table = results.ensemble_members("stacking").set_index("member")
    assert table["measure"].to_dict() == dict.fromkeys(SINGLES, "average precision") | {"general": "accuracy"}
    assert (table["low"] > 0).all(), "above all of them"
    paired = results.compare_runs("general", "stacking")
    assert table.loc["general", DIFFERENCE].tolist() == list(dataclasses.astuple(paired))
    alone = results.ensemble_members("ensemble-single").set_index("member")
    assert sorted(alone.index) == sorted(SINGLES), "the general network is no member"
    assert not (alone["low"] > 0).any()


def test_sources_of_other_images_are_not_compared_and_each_member_is_meant_with_its_own_seed(own_folders):
    with pytest.raises(ValueError, match="'general', which has none"):
        results.one_vs_rest("general")
    record_single("happy", np.full(TOTAL, 0.1))
    record("general", np.roll(LABELS, 1), probabilities(1.0, seed=2))
    assert results.precision_gains("general", "general")["no_difference"].all()
    with pytest.raises(ValueError, match="of the same images"):
        results.precision_gains("one-vs-rest", "general")
    members = (("fer-small", "0" * 12), ("fer-small", "0" * 12, 1), ("fer-base", "0" * 12))
    write_run(*made_up.run("fer-small-ensemble", members=members, model="ensemble", rule="mean"))
    for seed in (0, 1):
        write_run(*made_up.run("fer-small", seed=seed))
    table = results.ensemble_members("fer-small-ensemble")
    assert table["member"].tolist() == ["fer-small", "fer-small, seed 1"], "fer-base is not recorded"


THREE = ("happy", "sad", "neutral")
TRUTH = np.array([0, 1, 2, 0, 1, 2])


def member(probabilities, *, classes=THREE, labels=TRUTH, first_row=0):
    rows = np.arange(first_row, first_row + len(labels))
    found = Predictions(rows, np.array(labels), np.array(probabilities, float), np.zeros(len(rows), bool))
    about = {"run": "/".join(classes), "classes": classes, "metrics": {"validation": {}}}
    return SimpleNamespace(**about, predictions=lambda split: found)


def single(name, positive):
    found = np.stack([1 - np.array(positive), positive], axis=1)
    return member(found, classes=(REST, name), labels=(THREE.index(name) == TRUTH).astype(int))


def combined(*members, rule="mean"):
    """Labels and probabilities of made-up members together."""
    return combine(SimpleNamespace(name="ours", classes=THREE, rule=rule), list(members), seed=0)["validation"][1:3]


def test_members_are_averaged_by_class_and_those_of_one_class_count_as_one():
    singles = [
        single("happy", [0.6, 0.1, 0.2, 0.5, 0.2, 0.1]),
        single("sad", [0.2, 0.5, 0.2, 0.5, 0.6, 0.4]),
        single("neutral", [0.2, 0.4, 0.4, 0.0, 0.2, 0.5]),
    ]
    general = member(np.eye(3)[[0, 1, 2, 0, 1, 1]])
    labels, found = combined(*singles)
    np.testing.assert_array_equal(labels, TRUTH)
    np.testing.assert_allclose(found[:3], [[0.6, 0.2, 0.2], [0.1, 0.5, 0.4], [0.25, 0.25, 0.5]])
    np.testing.assert_allclose(combined(*singles, general)[1][5], np.mean([[0.1, 0.4, 0.5], [0, 1, 0]], axis=0))
    silent = combined(*(single(name, np.where(np.arange(6) == 2, 0, 1e-6)) for name in THREE))[1]
    np.testing.assert_allclose(silent, 1 / 3)
    labels, found = combined(member(np.eye(3)[2 - TRUTH], classes=THREE[::-1], labels=2 - TRUTH))
    np.testing.assert_array_equal(labels, TRUTH)
    np.testing.assert_array_equal(found.argmax(axis=1), TRUTH)
    for change in ({"first_row": 1}, {"labels": TRUTH[::-1]}, {"classes": (*THREE[:2], "fear")}):
        with pytest.raises(ValueError, match="of the same images and agree on the labels"):
            combined(general, member(np.eye(3)[TRUTH], **change))


def test_stacking_is_fitted_on_validation_and_scored_on_folds_it_has_not_seen():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 300)
    # Pure noise: whoever scores on what he was fitted to sees more in it than chance.
    noise = [member(generator.dirichlet(np.ones(3), 300), labels=labels) for _ in range(20)]
    assert (combined(*noise, rule="stacking")[1].argmax(axis=1) == labels).mean() < 0.42
    # And it sees a member that names each class by another's name, which a mean cannot.
    other = member(0.8 * np.eye(3)[(labels + 1) % 3] + 0.1, labels=labels)
    assert (combined(other, rule="stacking")[1].argmax(axis=1) == labels).mean() > 0.99


def test_an_ensemble_trains_its_members_each_with_its_seed_and_is_recorded(own_folders, monkeypatch):
    monkeypatch.setattr(trainer, "build", small)
    changes = {"epochs": 1, "batch_size": 16, "data": "fer4", "final": False}
    members = {name: dataclasses.replace(RECIPES[name], **changes) for name in ("one-vs-rest-happy", "general")}
    for recipe in members.values():
        monkeypatch.setitem(RECIPES, recipe.name, recipe)
    seeds = (("one-vs-rest-happy",), ("general", 1), ("general", 2))
    pairs = tuple((name, members[name].digest, *seed) for name, *seed in seeds)
    ours = dataclasses.replace(RECIPES["ensemble-single-and-general"], data="fer4", members=pairs, final=False)
    faces = make_faces(20, classes=FER4, seed=1)
    run = fit(ours, faces=faces, verbose=0)
    recorded = {(each.recipe_name, each.seed): each for each in read_runs(run.folder)}
    assert recorded.pop((ours.name, 0)) == run == fit(ours, faces=faces, verbose=0)
    assert sorted(recorded) == [("general", 1), ("general", 2), ("one-vs-rest-happy", 0)]
    assert run.num_parameters == sum(each.num_parameters for each in recorded.values())
    assert list(run.metrics) == ["validation"], "no member was scored on test"
    found = run.predictions("validation")
    np.testing.assert_array_equal(found.labels, faces["validation"][1])
    given = [each.predictions("validation").probabilities for name, each in recorded.items() if name[0] == "general"]
    expected = np.mean([np.eye(4)[np.full(len(found.rows), FER4.index("happy"))], *given], axis=0)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-3)
    another = (("general", "another"), *ours.members[1:])
    assert dataclasses.replace(ours, members=another).digest != ours.digest


# Label errors, agreement with FER+, saliency, peers


def voters(images, judged, disputed):
    """What FER+'s voters say of a group, as `training.label_errors` records it."""
    found = {"images": images, "judged": judged, "disputed": disputed}
    for name, part, whole in (("disputed", disputed, judged), ("unsupported", 1, judged), ("with_crowd", 1, disputed)):
        low, high = wilson(part, whole) if whole else (None, None)
        found |= ends(low, part / whole if whole else None, high, name=f"{name}_share")
    return found


def test_likely_label_errors_are_counted_and_each_share_names_its_denominator(own_folders):
    names = ("images", "named", "said", "flagged", "noise")
    counts = {"sad": (60, 50, 55, 10, 0.2), "fear": (30, 20, 45, 4, 0.1), "happy": (10, 10, 0, 0, 0.0)}
    crowd = {"all": voters(100, 80, 30), "flagged": voters(14, 12, 9), "unflagged": voters(86, 68, 21)}
    crowd["per_class"] = {"sad": voters(10, 9, 8), "fear": voters(4, 3, 1), "happy": voters(0, 0, 0)}
    found = {"classes": ["fear", "happy", "sad"], "flagged": [[0, 1, 3], [0, 0, 0], [8, 2, 0]]}
    found["per_class"] = {name: dict(zip(names, each, strict=True)) for name, each in counts.items()}
    write_table("label-errors", found | {"crowd": crowd})
    table = results.label_error_table().set_index("label")
    columns = ["images", "predicted", "predictions", "flagged", "judged"]
    assert table.loc[["fear", "sad"], columns].to_numpy().tolist() == [[30, 20, 45, 4, 3], [60, 50, 55, 10, 9]]
    assert table.loc["sad", ["flagged_share", "likely", "likely_share"]].tolist() == [1 / 6, "fear", 0.8]
    assert table.loc["sad", ["disputed_of_judged", "disputed_of_images"]].tolist() == [8 / 9, 8 / 10]
    assert table.loc["happy", ["likely", "likely_share", "disputed_of_judged"]].isna().all()
    groups = results.label_error_groups().set_index("group")
    assert groups["disputed_of_judged"].to_dict() == {"all": 30 / 80, "flagged": 9 / 12, "unflagged": 21 / 68}
    assert groups["disputed_of_images"].tolist() == [30 / 100, 9 / 14, 21 / 86]
    assert groups.loc["flagged", ["disputed_of_images_low", "disputed_of_images_high"]].tolist() == list(wilson(9, 14))
    assert results.label_error_matrix().loc["sad", "fear"] == 8
    write_table("label-errors", found | {"crowd": None})
    assert results.label_error_table().columns[-1] == "likely_share", "without voters"


def faces_with_votes(winner):
    """Synthetic faces, a row for each made-up prediction, whose voters all name one emotion."""
    faces = make_faces(40, seed=1)
    votes = np.zeros((len(faces.labels), 10), np.float32)
    votes[:, FERPLUS_VOTES.index(winner)] = 10
    return dataclasses.replace(faces, votes=votes, rows=np.arange(len(faces.labels)))


@pytest.mark.parametrize("course", [None, "as FER-2013"])
def test_data_are_counted_and_networks_are_held_against_the_voters(recorded_project, monkeypatch, course):
    faces, run = faces_with_votes("fear"), find_run("mini-xception")

    def load_course(protocol):
        if course is None:
            raise DataError("none")
        return faces

    monkeypatch.setattr(runs, "load_fer7", lambda: faces)
    monkeypatch.setattr(runs, "load_fer4", load_course)
    assert results.record_data() == faces.fingerprint
    found, test, fear = read_table("crowd"), run.predictions("test"), FER7.index("fear")
    predicted = test.probabilities.argmax(axis=1)
    assert found[run.run]["agreed"] == (test.labels == fear).sum()
    assert found[run.run]["with_crowd"] == ((predicted == fear) & (test.labels != fear)).sum()
    assert not [name for name in found if "@course" in name]
    unknown = runs.count_sides(faces_with_votes("unknown"), read_runs())
    assert set(unknown[run.run].values()) == {0}
    agreement, counts = results.agreement_table("validation").set_index("label"), faces.counts()
    assert agreement.loc[["fear", "sad"], "agreement_of_judged"].tolist() == [1, 0]
    assert agreement["images"].to_dict() == counts.loc["validation"].rename({"total": "all"}).to_dict()
    forms, totals = read_table("forms"), counts["total"].to_dict()
    whole = {split: dict.fromkeys(SPLITS, 0) | {split: totals[split]} for split in SPLITS}
    assert forms["fer2013-csv"] == whole
    assert all(one["validation"] == one["test"] == 0 for one in forms["challenge-csv"].values()), "Training rows alone"
    assert forms["fer2013-unnamed-folders"]["test"] == dict(totals, train=0)
    assert forms.get("course-folders") == (whole if course else None)
    assert (results.find_table("course") or {}).get("official_split") == (whole if course else None)


def test_shares_with_label_and_voters_are_of_the_disputed_images(recorded_project):
    counts = {"agreed": 10, "right": 9, "disputed": 4, "with_label": 1, "with_crowd": 2, "with_neither": 1}
    first, second = (find_run("mini-xception", seed).run for seed in (0, 1))
    write_table("crowd", {first: counts | {"right": 5}, second: counts})
    table = results.crowd_table()
    shares = table[["right_share", "with_label_share", "with_crowd_share", "with_neither_share"]]
    assert table["run"].tolist() == [second, first]
    assert shares.to_numpy().tolist() == [[0.9, 0.25, 0.5, 0.25], [0.5, 0.25, 0.5, 0.25]]
    assert results.crowd_table(["mini-xception"])["run"].tolist() == [first]


def test_saliency_is_held_against_rivals(own_folders):
    maps = {
        "occlusion": {"sooner_than": {"chance": {"mean": 0.2, "low": 0.19, "high": 0.21}}},
        "grad-cam": {"sooner_than": {"chance": {"mean": 0.002, "low": -0.008, "high": 0.012}}},
        "chance": {"curve": [0.8, 0.6]},
    }
    write_table("explain", {"tiny": {"split": "validation", "num_images": 1234, "deletion": {"blur": maps}}})
    ahead = results.deletion_table(["tiny", "vgg16"]).set_index("map")[["num_images", "low", "high", "verdict"]]
    assert ahead.loc["occlusion"].tolist() == [1234, 0.19, 0.21, "better"]
    assert ahead["verdict"].to_dict() == {"occlusion": "better", "grad-cam": "no difference"}


@pytest.mark.parametrize(("share", "verdict"), [(0.75, "above"), (0.5, "below"), (0.65, "no difference")])
def test_a_network_is_held_against_those_that_people_install(own_folders, share, verdict):
    run, history, predictions = made_up.run("fer-small")
    test = run.metrics["test"] | ends(share - 0.015, share, share + 0.015)
    write_run(dataclasses.replace(run, metrics=run.metrics | {"test": test}), history, predictions)
    write_run(*made_up.run("mini-xception", final=False))
    table = results.peer_table(["fer-small", "fer-base", "mini-xception"])
    assert table["network"].tolist() == ["fer-small", *(peer.name for peer in PEERS)], "of test accuracies only"
    assert table["verdict"].iloc[0] == verdict
    assert table["difference"].iloc[0] == pytest.approx(share - max(peer.accuracy for peer in PEERS) / 100)
