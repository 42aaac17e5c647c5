"""A benchmark of benchmarks/, run quickly as a command."""

import json
import os
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run_benchmark(name, folder, *options, record="speed.json", path=None, seconds=600):
    """Run a benchmark in a folder, which must hold nothing but its record; return the record and what was printed.

    Args:
        name: of the script.
        folder: `pathlib.Path` to run it in.
        options: more of the command line's.
        record: name of the file that it records to.
        path: a folder of modules that it may import, or None.
        seconds: how long it may take.
    """
    environment = {key: value for key, value in os.environ.items() if key not in ("KERAS_BACKEND", "FER_KERAS_DATA")}
    environment |= {"PYTHONPATH": str(path)} if path else {}
    done = subprocess.run(
        [sys.executable, BENCHMARKS / f"{name}.py", "--quick", "--json", record, *options],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [file.name for file in folder.iterdir()] == [record], "a benchmark leaves nothing behind"
    return json.loads((folder / record).read_text()), done.stdout
