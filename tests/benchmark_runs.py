"""A benchmark of benchmarks/, run quickly as a command."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run_benchmark(name, folder, *options, path=None):
    """Run a script in a folder, which may import what is below `path`; its record, and what it printed.

    It must print every ratio of its record, with what it is against and whether a goal is met, and leave nothing else.
    """
    environment = {key: value for key, value in os.environ.items() if key not in ("KERAS_BACKEND", "FER_KERAS_DATA")}
    environment |= {"PYTHONPATH": str(path)} if path else {}
    command = [sys.executable, BENCHMARKS / f"{name}.py", "--quick", "--json", "record.json", *options]
    how = {"env": environment, "cwd": folder, "timeout": 900, "capture_output": True, "text": True}
    done = subprocess.run(command, check=False, **how)
    assert done.returncode == 0, done.stderr
    (file,) = folder.iterdir()
    record = json.loads(file.read_text())
    for key, entry in record.items():
        if "ratio" in entry:
            what, against = map(re.escape, key.split(" / "))
            assert re.search(rf"(?m)^{what}  +{against}  +\S+ \[", done.stdout), key
            assert 0 <= entry["ratio_low"] <= entry["ratio_high"], key
            words = {None: "", True: f"\nmet: {key} is ", False: f"\nNOT MET: {key} is "}
            assert words[entry["met"]] in done.stdout
    return record, done.stdout
