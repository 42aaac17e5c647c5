"""What millions of pictures cost follows from what was measured and assumed, and the slowest part counts."""

import json

import made_up
import pytest

from fer_keras import paths
from fer_keras.recognition import picture_parts
from fer_keras.reporting import blocks, render, scale, sites
from fer_keras.reporting.sites import ASSUMED, SITES, Site, rates
from fer_keras.reporting.tables import write_table

PICTURE = {
    "network": "fer-small",
    "kind": "JPEG, 512x512 pixels, one face",
    "pictures": 100,
    "faces": 200,
    "pictures a second and core": 25.0,
    "milliseconds": {"decode": 6.0, "detection": 30.0, "crop": 1.0, "network": 2.0, "rest": 1.0, "whole": 40.0},
    "bytes in": 50_000.0,
    "bytes out": 500.0,
    "pictures a file of faces": 16,
}
RATIO = {
    "ratio": 1.9,
    "ratio_low": 1.8,
    "ratio_high": 2.0,
    "ratio_by_processor": None,
    "goal": 1.7,
    "goal_is": "at least",
    "met": True,
    "against": "one worker",
    "measured": "9 against 4.7 s",
}
SCALE = {
    "figures": {
        "a picture": PICTURE,
        "start-up": {
            "import": 0.5,
            "network and detector": 0.25,
            "ray": 3.0,
            "workers": 4.0,
            "share of pictures on two cores": {"10000": 0.034, "10000000": 0.0001},
        },
        "memory a worker in MB": {"recognition": {"pss": 256.0, "rss": 300.0}, "sweep": {}},
        "pictures a second": {"one worker": 25.0, "two workers": 47.5},
    },
    "recognition, two workers / one worker": RATIO,
    "sweep, two workers / one worker": RATIO,
}
NETWORKS = {"networks": {"fer-small": {"multiply_adds": 1_560_000}}}


@pytest.fixture
def measured(recorded_project):
    write_table("scale", SCALE)
    write_table("networks", NETWORKS)
    return recorded_project


def rows(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:] if line[:1] == "|"]


def test_cores_share_the_work_as_well_as_two_did():
    assert rates(Site("", 1), PICTURE, 0.95, 0) == {"cores, most of all detection": 25.0}
    assert rates(Site("", 32), PICTURE, 0.95, 0) == {"cores, most of all detection": pytest.approx(760)}


def test_what_gpus_do_is_no_longer_the_cores_work():
    found = rates(Site("", 10, 2, ("network",)), PICTURE, 1.0, ASSUMED["flops"].value / 100)
    assert found == pytest.approx({"cores, most of all detection": 10 / 0.038, "GPUs, most of all network": 2 / 0.01})
    found = rates(Site("", 10, 2, ("decode", "detection in batches")), PICTURE, 1.0, 0)
    seconds = 0.006 / ASSUMED["decode"].value + ASSUMED["detection in batches"].value / 1000
    assert found == pytest.approx(
        {"cores, most of all network": 10 / 0.004, "GPUs, most of all detection in batches": 2 / seconds}
    )


def test_storage_gives_so_many_bytes_a_second():
    assert rates(Site("", 1, reads=1e6), PICTURE, 1.0, 0)["storage"] == 20


def test_the_slowest_part_decides_time_and_money(measured, monkeypatch):
    monkeypatch.setattr(scale, "SITES", (Site("here", 2), Site("slow storage", 2, reads=5e4)))
    first, second = rows(scale.costs())
    hours = 1e10 / 47.5 / 3600
    assert first[1:4] == ["48", "2.4 days", "6.7 years"]
    assert first[4] == f"{hours * 2 * ASSUMED['core'].value:,.0f} $"
    assert first[5] == "cores, most of all detection"
    assert second[1:4] == ["1", "116 days", "317 years"]
    assert second[5] == "storage"
    assert (first[6], second[6]) == ("measurement", "measurement")


def test_on_the_way_to_gpus_each_part_is_the_slowest_once(measured):
    limits = [row[5] for row in rows(scale.costs())]
    assert limits == [
        *["cores, most of all detection"] * 4,
        "GPUs, most of all detection",
        "cores, most of all decode",
        "cores, most of all crop",
        "storage",
    ]


def test_a_picture_with_more_faces_asks_more_of_the_network(measured):
    picture, efficiency, operations = scale.measured_of(SCALE)
    assert (picture, efficiency, operations) == (PICTURE, 0.95, 2 * 2 * 1_560_000)


def test_every_place_has_a_row_and_no_more_than_it_has(measured):
    assert [row[0] for row in rows(scale.costs())] == [site.words for site in SITES]
    for site in SITES:
        assert set(site.on_gpu) <= {*sites.STAGES, "detection in batches"}
        assert bool(site.gpus) == bool(site.on_gpu)


def test_stages_and_their_shares(measured):
    found = {row[0]: row[1:] for row in rows(scale.picture())}
    assert found["detection"] == ["30.00", "75 %"]
    assert found["whole"] == ["40.00", "100 %"]
    assert "25.0 a second and core; 50.0 kB in and 0.50 kB out" in scale.picture()


def test_start_and_memory_of_workers(measured):
    found = dict(rows(scale.workers()))
    assert found["until its first worker begins"] == "4.0 s"
    assert found["share of the time for 10,000 pictures"] == "3.4 %"
    assert found["memory a worker, recognition"] == "256 MB"
    assert found["memory of 32 workers, recognition"] == "8 GB"
    assert "memory a worker, sweep" not in found


def test_bytes_files_and_requests(measured):
    found = {row[0]: row[1:] for row in rows(scale.storage())}
    assert found["pictures, TB"] == ["0.5", "500.0"]
    assert found["files of faces"] == ["9,766", "9,765,625"]
    assert found["reading them over gigabit Ethernet, days"] == ["0.0", "46.3"]
    assert found["asking an object store for each, days"] == ["0.0", "21.0"]
    assert found["of the files that one ext4 holds"] == ["0.002", "2.328"]
    assert found["faces of 48x48 as training holds them, GB"] == ["23", "23,040"]


def test_cores_for_a_week(measured):
    assert scale.in_a_week() == f"{1e10 / (7 * 24 * 3600) / 23.75:,.0f}"


def test_an_epoch_at_the_pace_of_a_recorded_run(measured):
    run, *_ = made_up.run()
    ((name, _, _, rate, *spans),) = rows(scale.epochs("mini-xception", "never trained"))
    expected = run.data["num_images"]["train"] * run.epochs_run / run.seconds
    assert (name, rate) == ("mini-xception", f"{expected:,.0f}")
    assert spans == [scale.span(number / expected) for number in (1e7, 1e10)]


def test_what_is_not_recorded_says_so(recorded_project):
    for name in scale.BLOCKS:
        assert blocks.text(name) == blocks.MISSING or name == "scale-assumed"
    assert len(rows(scale.assumptions())) == len(ASSUMED)


def test_the_document_is_filled_and_checked(measured, monkeypatch):
    project = paths.project()
    (project / "docs").mkdir()
    document = project / "docs" / "scale.md"
    document.write_text("<!-- generated: scale-cores-for-a-week --><!-- end -->")
    assert any(problem.startswith("scale.md: generated text is not today's") for problem in render.stale())
    assert document in render.refill()
    assert scale.in_a_week() in document.read_text()
    assert not any(problem.startswith("scale.md") for problem in render.stale())
    write_table("scale", json.loads(json.dumps(SCALE).replace("25.0", "20.0")))
    assert any(problem.startswith("scale.md") for problem in render.stale())


def test_files_of_faces_are_counted_as_the_package_writes_them():
    assert scale.PART == picture_parts.MOST_PICTURES
