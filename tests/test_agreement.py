"""Where labels and voters disagree, every image is counted once, with the side that the network takes."""

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fer_keras.data.synthetic import drawn_faces
from fer_keras.evaluation import sides
from fer_keras.labels import FER7, FERPLUS_VOTES
from fer_keras.reporting import from_data, read_runs, text
from fer_keras.reporting.tables import read_table, write_table

NAMES = st.sampled_from(("happy", "sad", "fear"))


@given(st.lists(st.tuples(NAMES, NAMES, st.sampled_from(("happy", "sad", "contempt", ""))), min_size=1))
def test_every_judged_image_counts_once(rows):
    labels, predicted, crowd = zip(*rows, strict=True)
    found = sides(labels, predicted, crowd)
    assert found["agreed"] + found["disputed"] == sum(name != "" for name in crowd)
    assert found["with_label"] + found["with_crowd"] + found["with_neither"] == found["disputed"]
    assert found["right"] <= found["agreed"]
    expected = sum(said == most != label for label, said, most in rows)
    assert found["with_crowd"] == expected


def faces_with_votes(winner):
    """Return drawn faces, a row for each made-up prediction, whose voters all named one emotion."""
    faces = drawn_faces(40, seed=1)
    votes = np.zeros((len(faces.labels), 10), np.float32)
    votes[:, FERPLUS_VOTES.index(winner)] = 10
    return dataclasses.replace(faces, votes=votes, rows=np.arange(len(faces.labels)))


def test_recorded_networks_are_held_against_the_voters(recorded_project):
    found = from_data.crowd(faces_with_votes("fear"))
    run = next(run for run in read_runs() if run.recipe_name == "mini-xception" and run.seed == 0)
    said = run.predictions("test")
    fear, answers = FER7.index("fear"), said.probabilities.argmax(axis=1)
    assert found[run.run]["agreed"] == (said.labels == fear).sum()
    assert found[run.run]["with_crowd"] == ((answers == fear) & (said.labels != fear)).sum()
    assert not [name for name in found if "@course" in name]
    unknown = from_data.crowd(faces_with_votes("unknown"))
    assert set(unknown[run.run].values()) == {0}


def test_the_table_divides_by_what_was_disputed(recorded_project):
    assert text("crowd") == "(not recorded yet)"
    better = {"agreed": 10, "right": 9, "disputed": 4, "with_label": 1, "with_crowd": 2, "with_neither": 1}
    runs = {(run.recipe_name, run.seed): run.run for run in read_runs()}
    write_table(
        "crowd",
        {
            runs["mini-xception", 0]: better | {"right": 5},
            runs["mini-xception", 1]: better,
            runs["emovision-baseline", 0]: dict.fromkeys(better, 0),
        },
    )
    assert text("crowd", "mini-xception").splitlines()[2:] == [
        "| mini-xception, seed 1 | 90.0 % | 25.0 % | 50.0 % | 25.0 % |",
        "| mini-xception | 50.0 % | 25.0 % | 50.0 % | 25.0 % |",
        "",
        "On test: 10 agreed and 4 disputed images, by the set of classes.",
    ]
    assert "| emovision-baseline | - | - | - | - |" in text("crowd")
    assert text("crowd", "capstone-model-1") == "(not recorded yet)"


def test_the_table_is_recorded_where_there_are_votes(recorded_project, monkeypatch):
    faces = faces_with_votes("happiness")
    monkeypatch.setattr(from_data, "load_fer7", lambda path: faces)
    monkeypatch.setattr(
        from_data, "load_fer4", lambda path, protocol: (_ for _ in ()).throw(from_data.DataError("none"))
    )
    from_data.record_data()
    assert read_table("crowd") == from_data.crowd(faces)
