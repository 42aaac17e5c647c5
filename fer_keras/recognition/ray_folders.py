"""Millions of pictures on Ray Data: workers recognise a part of them each, and write its faces to a Parquet file."""

import contextlib
import hashlib
import itertools
import json
import logging
import os
import pickle
import re
import sys
from collections import Counter, namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fer_keras.data.dataset import DataError
from fer_keras.paths import as_path, remove, write_whole
from fer_keras.ray_cluster import ray_cluster, share
from fer_keras.recognition.folders import COLUMNS, as_table, as_text, is_photo, progress, recognize_each, rows, walk
from fer_keras.recognition.recognizer import Recognizer

# A part takes a worker seconds: more would be lost when it is killed, fewer leave more and smaller files of faces.
MOST_PICTURES, FEWEST_PICTURES, MANY_PARTS = 1024, 16, 64
ABOUT = "_fer_keras.json"  # readers of Parquet skip names that begin with _ or a dot
is_table = re.compile(r"(?is)(.*/)?[^._/][^/]*\.parquet").fullmatch
# Names of the columns of pictures and of their names that Hugging Face's `datasets`, Ray and img2dataset write.
CONTENTS = ("bytes", "image", "picture", "content", "data", "jpg", "jpeg", "png", "webp")
NAMES = ("path", "picture", "file_name", "filename", "file", "name", "image_path", "key", "__key__", "url", "id")
# A folder of Parquet files of faces, the pictures done before, and what this run did: pictures, faces, errors.
FaceFiles = namedtuple("FaceFiles", "folder before pictures faces errors", defaults=(0, 0, 0, 0))


def recognize_on_ray(
    path: str | os.PathLike, out: str | os.PathLike, *, address: str | None = None, workers: int | None = None,
    **options: Any,
) -> FaceFiles:  # fmt: skip
    """Recognise the faces in millions of pictures on Ray (`pip install "fer_keras[ray]"`), a worker for each core.

    The rows are those of `recognize_folder`, in no particular order. Pictures are files, or rows of `.parquet` files
    with a column of their bytes (as Hugging Face's `datasets`, Ray and img2dataset write it) and perhaps of names.
    Called again after it was stopped or killed, it does what is left; no file that is there is half written. On a
    cluster, every machine needs the same fer_keras, and a file system that all share with `path` and `out`.

    Args:
        path: a folder, or a `.parquet` file.
        out: folder for the Parquet files of faces, which `pandas.read_parquet(out)` reads.
        address: that of a Ray cluster that runs, as `ray.init` takes it; None starts one on this machine.
        workers: number of processes, of one thread each; None is one for each core of the cluster.
        options: as for `recognize_folder`; workers get pickled copies of objects.

    Raises:
        DataError: if there are no pictures; if `out` holds other things than faces that these options gave.
        ValueError: on other options, as `Recognizer`; if there is no such cluster, or a worker of it failed.
    """
    path = as_path(path, "the path of a folder or of a .parquet file").resolve()
    recognizer, out = Recognizer(**options), as_path(out, "the path of a folder for the faces").resolve()
    folder, names, tables = find_pictures(path, out)
    number, network = len(names) + sum(tables.values()), recognizer.network
    about = [network.name, network.card.get("sha256"), list(network.classes), recognizer.min_confidence]
    more = [type(recognizer.detector).__name__, options.get("min_size"), recognizer.mirrored]
    size = begin(out, [str(path), *about, *more], max(FEWEST_PICTURES, min(MOST_PICTURES, number // MANY_PARTS)))
    parts = list(parts_left(folder, names, tables, out, size))
    before, counts = number - sum(part["pictures"] for part in parts), Counter()
    with progress(total=number, initial=before, unit=" pictures") as bar:
        for found in map_parts(parts, Worker, (str(out), pickle.dumps(recognizer)), address, workers) if parts else ():
            counts.update(found)
            bar.update(found["pictures"])
    return FaceFiles(out, before, **counts)


def find_pictures(path: Path, without: Path | None = None) -> tuple[Path, list, dict]:
    """The folder, the names of picture files below it, and the number of rows of each Parquet file below it."""
    folder, found = path.parent, [path.name] if path.is_file() and is_table(path.name) else []
    if path.is_dir():
        folder, found = path, list(walk(path, without, lambda name: is_photo(name) or is_table(name)))
    names, tables = [name for name in found if not is_table(name)], {}
    for name in filter(is_table, found):
        with opened(folder / name) as (file, _):
            tables[name] = file.metadata.num_rows
    if not names and not sum(tables.values()):
        what = "none" if path.is_dir() or tables else "a file" if path.is_file() else "nothing there"
        raise DataError(f"{path}: Expected a folder of pictures, or a .parquet file of them. Received: {what}.")
    return folder.resolve(), names, tables


def begin(out: Path, settings: list, size: int) -> int:
    """Note on disk that a run begins, or goes on with the same settings; give the size of parts, which stays."""
    about = {"settings": settings, "pictures a part": size}
    if (out / ABOUT).is_file():
        about = json.loads((out / ABOUT).read_text(encoding="utf-8"))
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: Expected a new or empty folder for the faces. Received: another.")
    if about["settings"] != settings:
        end = f"Received: {settings}. Choose another folder for the faces, or remove this one."
        raise DataError(f"{out}: Expected the settings with which its faces were found, {about['settings']}. {end}")
    write_whole(out / ABOUT, json.dumps(about, indent=1) + "\n")
    for left in out.glob(".*.parquet.*"):  # of workers that were killed
        remove(left)
    return about["pictures a part"]


def parts_left(folder: Path, names: list, tables: dict, out: Path, size: int) -> Iterator[dict]:
    """Yield the parts that `out` has no faces of: files, or rows of a Parquet file, always cut in the same places."""
    from pyarrow import parquet

    there = {file.name for file in out.glob("*.parquet")}
    read = (parquet.read_table(out / name, columns=["picture"]) for name in there if name.startswith("files-"))
    done = {name for table in read for name in table.column(0).to_pylist()}
    left = [name for name in names if as_text(name) not in done]
    chunks = [left[start : start + size] for start in range(0, len(left), size)]
    parts = [("files", chunk, {"pictures": len(chunk), "names": chunk}) for chunk in chunks]
    for file, count in tables.items():
        each = [{"pictures": min(size, count - start), "file": file, "start": start} for start in range(0, count, size)]
        parts += [("rows", (file, str(part["start"])), part) for part in each]
    for kind, key, part in parts:
        target = f"{kind}-{hashlib.sha256(bytes(1).join(map(os.fsencode, key))).hexdigest()[:24]}.parquet"
        if target not in there:
            yield {"folder": str(folder), "target": target, **part}


def map_parts(parts: list, worker: type, arguments: tuple, address=None, workers=None) -> Iterator[dict]:
    """Yield what workers, made with arguments once a process, return of parts; a `ValueError` if one failed."""
    with ray_cluster(address, cores=workers) as ray:
        import ray.data

        cores = int(ray.cluster_resources().get("CPU", 0))
        share([{"CPU": cores}], workers)  # checks their number
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what goes wrong is raised
        pool, blocks = ray.data.ActorPoolStrategy(size=min(workers or cores, len(parts))), min(len(parts), 10_000)
        data = ray.data.from_items([{"part": json.dumps(part)} for part in parts], override_num_blocks=blocks)
        try:
            for each in data.map(worker, fn_constructor_args=arguments, compute=pool, num_cpus=1).iter_rows():
                if "stopped" in each:
                    raise ray.exceptions.RayError(each["stopped"])
                yield each
        except ray.exceptions.RayError as error:
            kept = "What was done is kept; the same call goes on from there."
            raise ValueError(f"A worker stopped: {str(error).strip().splitlines()[-1]} {kept}") from None


class Worker:
    """A `Recognizer` in a process of its own, with one thread, so that workers do not fight over cores."""

    def __init__(self, out, recognizer):
        os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
        self.out, self.recognizer = Path(out), pickle.loads(recognizer)
        if "cv2" in sys.modules:
            sys.modules["cv2"].setNumThreads(1)

    def __call__(self, row: dict) -> dict:
        """Write the faces of one part; the result counts them, or has in `stopped` an error, which Ray would print."""
        try:
            return self.write(json.loads(row["part"]))
        except Exception as error:
            return {"stopped": f"{type(error).__name__}: {error}"}

    def write(self, part):
        import pyarrow as pa

        tries = self.out / f".{part['target']}.tries"
        with tries.open("a") as file:
            file.write(".")
        if tries.stat().st_size > 2:  # Ray itself would go on for ever
            names, what = part.get("names") or [part["file"]], "one at which the process that reads it ends"
            raise DataError(f"{names[0]} to {names[-1]}: Expected pictures that can be read. Received: {what}.")
        found = list(recognize_each(pictures_of(part), self.recognizer))
        table = as_table((row for each in found for row in rows(*each)), self.recognizer.classes)
        kinds = (COLUMNS | dict.fromkeys(self.recognizer.classes, float)).items()
        types = {str: pa.string(), int: pa.int64(), float: pa.float64()}
        schema = pa.schema([(name, types[kind]) for name, kind in kinds])
        write_whole(self.out / part["target"], table.to_parquet(schema=schema, index=False, compression="zstd"))
        tries.unlink(missing_ok=True)
        return {"pictures": len(found), "faces": int((table["face"] > 0).sum()), "errors": int(table["error"].count())}


def pictures_of(part: dict) -> Iterator[tuple]:
    """Yield `(name, source)` of each picture of a part; the source is a `DataError` where a Parquet file is corrupt."""
    import pyarrow as pa

    if "names" in part:
        yield from ((name, Path(part["folder"], name)) for name in part["names"])
        return
    start, stop = part["start"], part["start"] + part["pictures"]
    called, left = as_text(part["file"]), iter(range(start, stop))
    try:
        with opened(Path(part["folder"], part["file"])) as (file, columns):
            ends = np.cumsum([0, *(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))])
            first = np.searchsorted(ends, start, side="right") - 1  # of the groups that are read
            batches = file.iter_batches(16, row_groups=[*range(first, file.num_row_groups)], columns=columns)
            flat = (pa.Table.from_batches([batch]).flatten().select(columns).to_pylist() for batch in batches)
            found = itertools.islice(itertools.chain.from_iterable(flat), start - ends[first], stop - ends[first])
            for (picture, *given), row in zip(map(dict.values, found), left, strict=False):
                name = f"{called}#{row}" if given in ([], [None]) else str(given[0])
                yield name, picture or DataError("Expected the bytes of a picture. Received: none.")
    except DataError as fault:
        yield from ((f"{called}#{row}", fault) for row in left)


@contextlib.contextmanager
def opened(path: Path):
    """Yield an open `ParquetFile` and its columns of pictures' bytes and perhaps names; corruption is a `DataError`."""
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path, buffer_size=2**20) as file:  # as whole columns may not fit into memory
            fields = file.schema_arrow.empty_table().flatten().schema  # the fields of a struct are NAME.FIELD
            found = [field.name for field in fields if str(field.type) in ("binary", "large_binary", "binary_view")]
            chosen = [name for name in found if name.endswith(".bytes")] or [name for name in CONTENTS if name in found]
            if chosen := (chosen or found * (len(found) == 1))[:1]:
                names = [chosen[0].removesuffix("bytes") + "path", *NAMES]
                yield file, chosen + [name for name in names if name in fields.names and name not in chosen][:1]
                return
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: Expected a whole Parquet file. Received: {str(error)[:200]}") from error
    what = "(binary, called bytes or image, or a struct with the fields bytes and path). Received the columns"
    raise DataError(f"{path}: Expected a column with the bytes of pictures {what}: {', '.join(map(str, fields))}.")
