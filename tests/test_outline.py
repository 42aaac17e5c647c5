"""A network in stages: everything is counted once, what lies beside the main path is marked, and it can be drawn."""

import subprocess
import sys

import pytest

from fer_keras import paths, plots
from fer_keras.__main__ import main
from fer_keras.models import BUILDERS, MODELS, build, multiply_adds, summary
from fer_keras.models.summary import outline
from fer_keras.results import read_table

LIGHT = ["capstone-model-1", "emovision-baseline", "mini-xception", "general", "sep-se-residual"]
BLOCK = ["conv 3x3", "conv 3x3, SE, +"]
STAGES = {
    "sep-se-residual": ["pixels", "resized", "conv 3x3, SE", "max 2x2", *3 * BLOCK, "mean of all", *3 * ["dense"]],
    "vgg16": ["pixels", "vgg16", *4 * ["dense"]],
}


@pytest.mark.parametrize("name", [*LIGHT, "vgg16"])
def test_the_stages_add_up_to_the_network_and_side_branches_are_marks(name):
    model = build(name, 7, weights=None)
    stages = outline(model)
    assert sum(stage["parameters"] for stage in stages) == model.count_params()
    assert sum(stage["multiply_adds"] for stage in stages) == multiply_adds(model)
    assert (stages[0]["shape"], stages[-1]["shape"]) == ([48, 48, 1], [7])
    if name in STAGES:
        assert [", ".join([stage["label"], *stage["marks"]]) for stage in stages] == STAGES[name]
    if name == "vgg16":
        assert (stages[1]["kind"], stages[1]["parameters"]) == ("backbone", 14_714_688)
    if name == "mini-xception":
        labels = [stage["label"] for stage in stages]
        assert labels.count("separable 3x3") == 8
        assert "conv 1x1" not in labels, "shortcuts are side branches"


@pytest.mark.parametrize(("pooling", "label"), [("mean", "mean of all"), ("weighted", "weights of all")])
def test_what_pools_all_places_is_a_stage(pooling, label):
    stage = outline(build("fer-small", 7, pooling=pooling))[-2]
    assert (stage["kind"], stage["label"], stage["shape"][-1]) == ("pooling", label, 128)


def test_networks_are_recorded_once_and_drawn_from_the_record(own_folders, monkeypatch):
    monkeypatch.setattr(summary, "BUILDERS", {name: BUILDERS[name] for name in LIGHT[:1]})
    assert not summary.networks_are_recorded()
    summary.record_networks()
    assert summary.networks_are_recorded()
    known = read_table("networks")["networks"]["capstone-model-1"]
    assert (known["num_classes"], known["parameters"]) == (4, 605_572)
    assert known["source"].startswith("Palacios Boyce")
    figure = plots.architecture(known["stages"], title="a name")
    assert figure.axes[0].get_title(loc="left") == "a name: 605,572 parameters, 7.7 M multiply-adds"
    monkeypatch.setattr(summary, "describe_network", None)  # would fail if it was called
    summary.record_networks()
    monkeypatch.setattr(summary, "digest_of_sources", lambda: "of other code")
    assert not summary.networks_are_recorded()


def test_the_committed_networks_are_those_of_todays_code_each_with_its_source():
    assert summary.networks_are_recorded(folder=paths.PACKAGE.parent / "reports" / "results")
    assert set(read_table("networks")["networks"]) == set(MODELS)
    for name in MODELS:
        assert len(summary.source_of(name)) > 10, name


def test_the_command_lists_what_is_recorded_without_a_backend():
    """The table is read where it was made of today's code; else networks are built."""
    script = "import sys; from fer_keras.__main__ import main; main(['models']); sys.exit('keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["network", *BUILDERS]
    assert done.stderr == ""


def test_the_command_lists_networks_of_other_classes_and_the_stages_of_one(capsys, monkeypatch):
    monkeypatch.setattr("fer_keras.models.BUILDERS", {name: BUILDERS[name] for name in LIGHT[:3]})
    monkeypatch.setattr(summary, "BUILDERS", {name: BUILDERS[name] for name in LIGHT[:3]})
    assert main(["models", "--classes", "7"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["network", *LIGHT[:3]]
    assert lines[3].split()[1:6] == ["7", "[48,", "48,", "1]", "58,423"]
    assert main(["models", "capstone-model-1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["pixels", "input", "[48,", "48,", "1]", "0", "0", "[]"]
    assert lines[-1].startswith("605,572 parameters, ")
    assert main(["models", "lenet"]) == 2
    assert "Did you mean 'resnet18'?" in capsys.readouterr().err
