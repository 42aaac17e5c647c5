"""The example of docs/: processes of one group, placed by Ray, train one network together."""

import json
import os
import subprocess
import sys

import pytest
from PIL import Image

from fer_keras import paths
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.labels import FER4

pytest.importorskip("ray")
pytest.importorskip("jax")
SCRIPT = paths.PACKAGE.parent / "docs" / "train_on_ray.py"


def test_two_actors_train_one_network(tmp_path):
    faces = make_faces(8, classes=FER4, seed=0)
    for number, (image, label) in enumerate(zip(faces.images[..., 0], faces.labels, strict=True)):
        file = tmp_path / "faces" / faces.classes[label] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    command = [sys.executable, SCRIPT, "2", "0", "capstone-model-1", "--folder", tmp_path / "faces", "--epochs", "1"]
    places = {f"FER_KERAS_{name}": str(tmp_path / name.lower()) for name in ("BUILD", "RESULTS", "CACHE")}
    settings = {"RAY_ADDRESS": "local", "SPREAD": "PACK", "RAY_USAGE_STATS_ENABLED": "0", **places}
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (record,) = (tmp_path / "build" / "results" / "runs").glob("*.json")
    assert "2 devices of 2 processes" in json.loads(record.read_text())["device"]
