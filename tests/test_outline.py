"""A network in stages: everything is counted once, what lies beside the main path is marked, and it can be drawn."""

import subprocess
import sys

import pytest

from fer_keras import paths
from fer_keras.__main__ import main
from fer_keras.models import BUILDERS, MODELS, build, multiply_adds, summary
from fer_keras.models.summary import outline
from fer_keras.results import read_table

LIGHT = ["capstone-model-1", "emovision-baseline", "mini-xception"]
SHORTCUTS = ["conv 3x3", "conv 3x3, SE, +"]
STAGES = {
    "sep-se-residual": ["pixels", "resized", "conv 3x3, SE", "max 2x2", *3 * SHORTCUTS, "mean of all", *3 * ["dense"]],
    "vgg16": ["pixels", "vgg16", *4 * ["dense"]],
}


@pytest.mark.parametrize("name", [*LIGHT, *STAGES, "fer-small"])
def test_the_stages_add_up_to_the_network_and_side_branches_are_marks(name):
    model = build(name, 7, weights=None, **{"pooling": "weighted"} if name == "fer-small" else {})
    stages = outline(model)
    assert sum(stage["parameters"] for stage in stages) == model.count_params()
    assert sum(stage["multiply_adds"] for stage in stages) == multiply_adds(model)
    assert (stages[0]["shape"], stages[-1]["shape"]) == ([48, 48, 1], [7])
    labels = [", ".join([stage["label"], *stage["marks"]]) for stage in stages]
    assert STAGES.get(name, labels) == labels
    assert (stages[1]["kind"] == "backbone") == (name == "vgg16")
    assert ("weights of all" in labels) == (name == "fer-small")


def test_networks_are_recorded_once_as_the_code_stands_each_with_its_source(own_folders, monkeypatch):
    committed = paths.project() / "reports" / "results"
    networks = read_table("networks", folder=committed)["networks"]
    assert (summary.networks_are_recorded(folder=committed), set(networks)) == (True, set(MODELS))
    assert all(len(network["source"]) > 10 for network in networks.values())
    monkeypatch.setattr(summary, "BUILDERS", {name: BUILDERS[name] for name in LIGHT[:1]})
    assert not summary.networks_are_recorded()
    summary.record_networks()
    known = read_table("networks")["networks"]["capstone-model-1"]
    assert (known["num_classes"], known["parameters"], summary.networks_are_recorded()) == (4, 605_572, True)
    monkeypatch.setattr(summary, "describe_network", None)  # would fail if it was called
    summary.record_networks()
    monkeypatch.setattr(summary, "digest_of_sources", lambda: "of other code")
    assert not summary.networks_are_recorded()


def test_the_command_lists_what_is_recorded_without_a_backend():
    script = "import sys; from fer_keras.__main__ import main; main(['models']); sys.exit('keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["network", *BUILDERS]
    assert done.stderr == ""


def test_the_command_lists_networks_of_other_classes_and_the_stages_of_one(capsys, monkeypatch):
    for place in ("fer_keras.models.BUILDERS", "fer_keras.models.summary.BUILDERS"):
        monkeypatch.setattr(place, {name: BUILDERS[name] for name in LIGHT})
    assert main(["models", "--classes", "7"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["network", *LIGHT]
    assert " 58,423 " in lines[3]
    assert main(["models", "capstone-model-1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:2] == ["pixels", "input"]
    assert lines[-1].startswith("605,572 parameters, ")
