"""A benchmark of benchmarks/, run quickly as a command."""

import json
import os
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run_benchmark(name, folder, *options, record="speed.json", path=None, seconds=600):
    """Run a script in a folder, which must hold nothing but its record; return the record and what was printed.

    `options` are more of the command line's; `path` is a folder of modules that it may import.
    """
    environment = {key: value for key, value in os.environ.items() if key not in ("KERAS_BACKEND", "FER_KERAS_DATA")}
    environment |= {"PYTHONPATH": str(path)} if path else {}
    command = [sys.executable, BENCHMARKS / f"{name}.py", "--quick", "--json", record, *options]
    how = {"env": environment, "cwd": folder, "timeout": seconds, "capture_output": True, "text": True}
    done = subprocess.run(command, check=False, **how)
    assert done.returncode == 0, done.stderr
    assert [file.name for file in folder.iterdir()] == [record], "a benchmark leaves nothing behind"
    return json.loads((folder / record).read_text()), done.stdout
