"""Of runs that are trained side by side, what others start from begins first, and nothing shared is computed twice."""

import dataclasses
import sys
from types import SimpleNamespace

import pytest

from fer_keras.recipes import RECIPES
from fer_keras.training import jobs, ray_search
from fer_keras.training.jobs import Job, Queue, plan

SMALL = RECIPES["fer-small@four"]
DRAWN = SimpleNamespace(protocol="drawn")


def names(found):
    return [job.recipe.name for job in found]


def cell(**changes):
    return dataclasses.replace(SMALL, name=f"cell-{len(changes)}-{sorted(changes.items())}", **changes), 0


def test_starts_come_before_the_cells_that_need_them_once_each(tmp_path):
    tuned = RECIPES["emovision-vgg@finetuned"]
    cells = [(tuned, 0), (dataclasses.replace(tuned, name="other", epochs=3), 0), (RECIPES["mini-xception"], 0)]
    found = plan(cells, DRAWN, tmp_path)
    assert names(found) == ["emovision-vgg@frozen", "emovision-vgg@finetuned", "other", "mini-xception"]
    assert [job.number for job in found] == [None, 0, 1, 2]
    start = found[0].name
    assert [job.needs for job in found] == [(), (start,), (start,), ()]


def test_a_start_that_is_recorded_is_not_trained_again(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs.runs, "find_run", lambda recipe, seed, folder: recipe.name == "emovision-vgg@frozen")
    assert names(plan([(RECIPES["emovision-vgg@finetuned"], 0)], DRAWN, tmp_path)) == ["emovision-vgg@finetuned"]


def test_a_start_of_other_classes_is_trained_on_its_own_faces(tmp_path):
    same, other = cell(start_recipe="fer-small@four"), cell(start_recipe="fer-small")
    found = {job.recipe.name: job.given for job in plan([same, other], DRAWN, tmp_path)}
    assert found == {"fer-small@four": True, "fer-small": False, same[0].name: True, other[0].name: True}
    assert cell(start_recipe="fer-small")[0].classes != RECIPES["fer-small"].classes


def test_teachers_come_first_too(tmp_path):
    teachers = tuple((SMALL.name, SMALL.digest, seed) for seed in (3, 4))
    found = plan([cell(teachers=teachers)], DRAWN, tmp_path)
    assert [(job.recipe.name, job.seed) for job in found[:-1]] == [(SMALL.name, 3), (SMALL.name, 4)]
    assert found[-1].needs == (found[0].name, found[1].name)


def test_no_more_run_than_there_are_workers():
    queue = Queue([Job(*cell(epochs=number)) for number in (1, 2, 3)], workers=2)
    assert queue.begin("a").recipe.epochs == 1
    assert queue.begin("b").recipe.epochs == 2
    assert queue.begin("c") is None
    assert queue.end("a").recipe.epochs == 1
    assert queue.begin("c").recipe.epochs == 3
    assert (queue.begin("d"), queue.waiting, queue.failed) == (None, [], {})


def test_a_job_waits_for_what_it_needs_and_others_pass_it():
    start = Job(*cell(epochs=1))
    needy, free = Job(*cell(epochs=2), needs=(start.name,)), Job(*cell(epochs=3))
    queue = Queue([start, needy, free], workers=3)
    assert queue.begin("a") == start
    assert queue.begin("b") == free
    assert queue.begin("c") is None
    queue.end("a")
    assert queue.begin("c") == needy


def test_what_starts_from_a_failure_fails_with_it():
    start, free = Job(*cell(epochs=1)), Job(*cell(epochs=3))
    needy = Job(*cell(epochs=2), number=0, needs=(start.name,))
    queue = Queue([start, needy, free], workers=1)
    queue.begin("a")
    queue.end("a", "ValueError: no")
    assert queue.failed == {start.name: "ValueError: no", needy.name: f"it starts from {start.name}, which failed"}
    assert queue.begin("b") == free


def test_features_of_a_frozen_backbone_are_computed_by_one():
    frozen = RECIPES["emovision-vgg@frozen"]
    same = [Job(dataclasses.replace(frozen, name=f"rate-{rate}", learning_rate=rate), 0) for rate in (0.1, 0.2, 0.3)]
    other = Job(dataclasses.replace(frozen, name="some", train_fraction=0.5), 0)
    queue = Queue([*same, other], workers=4)
    assert (queue.begin("a"), queue.begin("b"), queue.begin("c")) == (same[0], other, None)
    queue.end("a", "killed")
    assert (queue.begin("c"), queue.begin("d")) == (same[1], None)
    queue.end("c")
    assert queue.begin("d") == same[2]


def test_networks_without_a_frozen_backbone_share_nothing():
    for name in ("fer-small", "mini-xception", "emovision-vgg@finetuned", "capstone-model-1"):
        assert Job(RECIPES[name], 0).shares is None, name


def test_after_its_minutes_none_begins():
    queue = Queue([Job(*cell(epochs=number)) for number in (1, 2)], workers=2, minutes=1e-9)
    assert queue.begin("a").recipe.epochs == 1
    assert queue.begin("b") is None
    assert queue.waiting == []


def test_more_workers_than_there_is_room_for_are_refused():
    for wrong in (0, 3):
        with pytest.raises(ValueError, match=rf"must be 1 to 2, .* Received: {wrong}\."):
            ray_search.share([{"CPU": 2.0}], wrong)


def test_a_client_of_ray_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Received: ray://there:10001\."):
        ray_search.fit_all([], None, faces=DRAWN, folder=tmp_path, address="ray://there:10001")


def test_without_ray_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r'pip install "fer_keras\[ray\]"'):
        ray_search.fit_all([cell()], None, faces=DRAWN, folder=tmp_path)
