"""What millions of pictures cost follows from what was measured and assumed, and the slowest part decides."""

import sys
from pathlib import Path

import made_up
import pytest

from fer_keras.recognition import ray_folders
from fer_keras.results import write_table

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import scale_costs
from scale_costs import ASSUMED, SITES, STAGES, Site, rates

PICTURE = {
    "network": "fer-small",
    "kind": "JPEG, 512x512 pixels, one face",
    "pictures": 100,
    "faces": 200,
    "pictures a second and core": 25.0,
    "milliseconds": {"decode": 6.0, "detection": 30.0, "crop": 1.0, "network": 2.0, "rest": 1.0, "whole": 40.0},
    "bytes in": 50_000.0,
    "bytes out": 500.0,
}
MEASURED = {
    "figures": {
        "a picture": PICTURE,
        "start-up": {"import": 0.5, "ray": 3.0, "share of pictures on two cores": {"10000": 0.034}},
        "memory a worker in MB": {"recognition": {"pss": 256.0, "rss": 300.0}, "sweep": {}},
    },
    "recognition, two workers / one worker": {"ratio": 1.9},
}


def test_cores_share_the_work_as_well_as_two_did_and_not_what_gpus_do():
    assert rates(Site("", 1), PICTURE, 0.95, 0) == {"cores: detection": 25.0}
    assert rates(Site("", 32), PICTURE, 0.95, 0) == {"cores: detection": pytest.approx(760)}
    found = rates(Site("", 10, 2, ("network",)), PICTURE, 1.0, ASSUMED["flops"].value / 100)
    assert found == pytest.approx({"cores: detection": 10 / 0.038, "GPUs: network": 2 / 0.01})
    found = rates(Site("", 10, 2, ("decode", "detection in batches")), PICTURE, 1.0, 0)
    seconds = 0.006 / ASSUMED["decode"].value + ASSUMED["detection in batches"].value / 1000
    assert found == pytest.approx({"cores: network": 10 / 0.004, "GPUs: detection in batches": 2 / seconds})


def test_the_slowest_part_decides_time_and_money():
    table = scale_costs.costs(MEASURED, 1_560_000, sites=(Site("here", 2), Site("slow storage", 2, reads=5e4)))
    first, second = table.loc["here"], table.loc["slow storage"]
    times = ["2.4 days", "6.7 years", "cores: detection"]
    assert list(first[["ten million", "ten billion", "limited by"]]) == times
    assert first["dollars for ten billion"] == pytest.approx(1e10 / 47.5 / 3600 * 2 * ASSUMED["core"].value)
    assert (second["pictures a second"], second["limited by"]) == (1, "storage")


def test_on_the_way_to_gpus_each_part_is_the_slowest_once():
    table = scale_costs.costs(MEASURED, 1_560_000)
    assert list(table.index) == [site.name for site in SITES]
    slowest = ["GPUs: detection", "cores: decode", "cores: crop", "storage"]
    assert list(table["limited by"]) == [*["cores: detection"] * 4, *slowest]
    for site in SITES:
        assert set(site.on_gpu) <= {*STAGES, "detection in batches"}
        assert bool(site.gpus) == bool(site.on_gpu)


def test_bytes_files_and_requests():
    table = scale_costs.storage(PICTURE)["ten billion"]
    assert table["pictures, TB"] == pytest.approx(500)
    assert table["files of faces"] == pytest.approx(1e10 / 1024)
    assert table["reading over gigabit Ethernet, days"] == pytest.approx(46.3, abs=0.05)
    assert table["faces of 48x48 as training holds them, GB"] == pytest.approx(23_040)
    assert scale_costs.cores_for_a_week(MEASURED) == pytest.approx(1e10 / (7 * 24 * 3600) / 23.75)
    assert scale_costs.PICTURES_PER_FILE == ray_folders.MOST_PICTURES, "as the package writes them"


def test_the_command_prints_all_tables(recorded_project, capsys):
    assert scale_costs.main() == 1
    assert "benchmarks/scale.py" in capsys.readouterr().out
    write_table("scale", MEASURED)
    write_table("networks", {"networks": {"fer-small": {"multiply_adds": 1_560_000}}})
    assert scale_costs.main() == 0
    printed = capsys.readouterr().out
    run, *_ = made_up.run()
    rate = run.data["num_images"]["train"] * run.epochs_run / run.seconds
    assert scale_costs.span(1e10 / rate) in printed
    assert all(
        name in printed for name in [*(site.name for site in SITES), *(each.source for each in ASSUMED.values())]
    )
