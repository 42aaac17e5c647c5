"""The command line: `fer-keras COMMAND`, or `python -m fer_keras COMMAND`."""

import dataclasses
import importlib.machinery
import itertools
import math
import os
import pkgutil
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

import fer_keras
from fer_keras import paths
from fer_keras.names import check_name, with_extra
from fer_keras.ray_cluster import silent_stderr

settings = {"pretty_exceptions_enable": False, "rich_markup_mode": None, "add_completion": False}
app = typer.Typer(help="Facial expression recognition in Keras.", **settings)
UsageError = typer.BadParameter.__base__  # Typer exports no other of its usage errors.


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 2 after an error in one line, 130 after Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    while (nowhere := os.open(os.devnull, os.O_RDWR)) < 3:  # of closed ones, the next file would take the place
        pass
    os.close(nowhere)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if QuietTensorFlow not in sys.meta_path:
        sys.meta_path.insert(0, QuietTensorFlow)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115  # no console, as of pythonw
    sys.stderr = sys.stderr or sys.stdout
    if hasattr(sys.stdout, "reconfigure"):  # names that the console cannot show
        sys.stdout.reconfigure(errors="replace")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
            commands = typer.main.get_command(app)
            status = commands.invoke(commands.make_context("fer-keras", with_addresses(arguments) or ["--help"]))
        sys.stdout.flush()
        return status or 0
    except typer.Exit as ended:
        return ended.exit_code
    except BrokenPipeError:  # The reader has seen enough, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except UsageError as error:
        close = getattr(error, "possibilities", None)
        text = f"{error.message}. Did you mean {' or '.join(close)}?" if close else error.format_message()
        text = " ".join(text.split())
        text += "" if text.endswith((".", "?")) else "."
        print(f"error: {text} See {error.ctx.command_path} --help.", file=sys.stderr)
        return 2
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {with_extra(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        trains = not {"train", "search", "label-errors"}.isdisjoint(arguments[:1])
        where = "the last whole epoch" if trains else "there" if "--ray" in arguments else None
        kept = [f"the same command goes on from {where}"] if where else stop.args
        print("stopped", *kept, sep="; ", file=sys.stderr)
        return 130


def with_addresses(arguments):
    """Give `--ray` an empty value where no address follows: Typer has no options whose value may be left out."""
    pairs = itertools.pairwise([*arguments, "-"])
    return [f"{word}=" if word == "--ray" and after.startswith("-") else word for word, after in pairs]


class QuietTensorFlow:
    """Finds TensorFlow as Python does, and imports it in silence: some lines ignore its log level."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        spec = importlib.machinery.PathFinder.find_spec(name, path, target) if name == "tensorflow" else None
        if spec:
            spec.loader.exec_module = silent_stderr()(spec.loader.exec_module)
        return spec


def architecture_names():
    """Names in `models.MODELS`, read from the recipes, since `models` imports Keras."""
    return sorted({recipe.model for recipe in fer_keras.RECIPES.values()} - {"ensemble"})


def known(kind, names, free=()):
    """Callback that checks a value: one of `names`, which `module:name` finds when needed, or it ends as in `free`."""

    def check(value: str | None):
        if value is not None and not value.startswith(free) and not value.endswith(free):
            found = pkgutil.resolve_name(names) if isinstance(names, str) else names
            check_name(kind, value, found() if callable(found) else found)
        return value

    return check


def choice(kind, *names, more="", free=()):
    """An option with a few known values, which its help lists."""
    return Option(metavar=kind.upper(), help=" or ".join(names) + more, callback=known(kind, names, free))


check_recipe, check_space = known("recipe", "fer_keras:RECIPES"), known("search space", "fer_keras.recipes:SPACES")
NETWORKS = "fer_keras.recognition.networks:network_names"
check_trained, check_network = known("recipe", NETWORKS), known("network", NETWORKS, (".keras", ".h5", ".onnx"))
SHOWN = 20  # faces of a video
NETWORK = "a shipped network, a trained recipe, or a .keras file with its card or with --classes"

# Arguments and options, in the order of the commands. Without a name, an option is called as its parameter.
# fmt: off
RecipeName = Annotated[str, Argument(metavar="RECIPE", help="a recipe (see `recipes`)", callback=check_recipe)]
Data = Annotated[str | None, Option(metavar="PATH", help="any form of data; default: FER_KERAS_DATA, cache, Kaggle")]
Folder = Annotated[str | None, Option(metavar="PATH", help="your own pictures: a folder of class folders")]
Seed = Annotated[int, Option(metavar="N", help="seed of the training")]
Epochs = Annotated[int | None, Option(metavar="N", min=1, help="other than the recipe's: trains a variant of it")]
Minutes = Annotated[float | None, Option(metavar="N", min=0, help="begin no epoch (search: training) after N minutes")]
Force = Annotated[bool, Option("--force", help="train although there is a record, and overwrite it")]
Record = Annotated[bool, Option("--record", help="for maintainers: write to reports/results, not to build/results")]
Precision = Annotated[str, choice("precision", "float32", "mixed_bfloat16")]
Devices = Annotated[str | None, Option(metavar="all|N", help="split each batch over all devices or N (JAX)",
    callback=known("choice of devices", ("all",), tuple("0123456789")))]
Tensorboard = Annotated[str | None, Option(metavar="DIR", help="write TensorBoard's logs there")]
Checkpoints = Annotated[str | None, Option(metavar="DIR", help="save the network there whenever validation loss falls")]
SpaceName = Annotated[str | None, Argument(metavar="SPACE", help="none lists the search spaces", callback=check_space)]
Ray = Annotated[str | None, Option(metavar="[ADDRESS]", help="work on Ray: a cluster, or all cores of this machine")]
Workers = Annotated[int | None, Option(metavar="N", min=1, help="with --ray: how many processes; default: one a core")]
Folds = Annotated[int, Option(metavar="N", min=2, help="networks, each trained without a fold")]
Gallery = Annotated[bool, Option("--gallery", help="write the faces with the least likely labels to build/private")]
Name = Annotated[str, Argument(metavar="NAME", help=NETWORK, callback=check_network)]
Split = Annotated[str, choice("split", "train", "validation", "test")]
CLASSES = "the classes of a .keras file without a card, in the order of its outputs"
Classes = Annotated[str | None, Option(
    metavar="A,B,C", help=CLASSES, callback=lambda names: names and [name.strip() for name in names.split(",")])]
Trained = Annotated[str, Argument(metavar="NAME", help="a recipe that was trained here", callback=check_trained)]
Out = Annotated[str | None, Option(metavar="PATH", help="where to write; its default is given above")]
DataPath = Annotated[str | None, Argument(metavar="PATH", help="default: FER_KERAS_DATA, cache, Kaggle")]
Skip = Annotated[bool, Option("--skip", help="list every bad row or picture, instead of the first")]
Model = Annotated[str | None, Argument(
    metavar="NAME", help="one, stage by stage", callback=known("network", architecture_names))]
NumClasses = Annotated[int | None, Option("--classes", metavar="N", min=2, help="default: as in its recipes")]
Listed = Annotated[str | None, Argument(metavar="NAME", help="one recipe, field by field", callback=check_recipe)]
Pictures = Annotated[list[str], Argument(metavar="PATH", help="pictures, folders of them, or .zip files of these")]
Copies = Annotated[str | None, Option("--out", metavar="DIR", help="write copies with boxes and emotions there")]
Csv = Annotated[str | None, Option(metavar="FILE", help="write a table, one row a face")]
Json = Annotated[bool, Option("--json", help="print a JSON object a picture, one a line")]
OutData = Annotated[str | None, Option(metavar="DIR", help="with --ray: write the table there, as Parquet files")]
Weights = Annotated[str | None, Option(metavar="NAME", help=NETWORK, callback=check_network)]
DETECTORS = ("auto", "haar", "yunet", "yunet:FILE", "mtcnn", "none")
Detector = Annotated[str | None, choice("detector", *DETECTORS, more="; default: auto", free=("yunet:",))]
Fetched = Annotated[str, Argument(metavar="yunet", help="the detector", callback=known("detector", ("yunet",)))]
CopyOf = Annotated[str | None, Option("--from", metavar="PATH", help="take a copy of it that is here already")]
Confidence = Annotated[float | None, Option("--min-confidence", metavar="P", help="below it a face is uncertain")]
MinSize = Annotated[float | None, Option(metavar="P", help="smallest face, a share of the picture's longer side")]
Mirrored = Annotated[bool, Option("--mirrored", help="average over each face and its mirror image")]
Bars = Annotated[bool, Option("--bars", help="with a picture or video to write: draw all probabilities, too")]
Source = Annotated[str, Argument(metavar="IN", help="a video")]
Target = Annotated[str | None, Argument(metavar="OUT", help="the video to write: .mp4, .mkv, .avi or .webm")]
Start = Annotated[float, Option(metavar="SECONDS", help="leave out what is before")]
Stop = Annotated[float | None, Option(metavar="SECONDS", help="leave out what is after")]
Every = Annotated[int | None, Option(metavar="N", help="detect on every N-th frame, track in between")]
Smooth = Annotated[float | None, Option(metavar="SECONDS", help="time constant of the running mean; 0 for none")]
Host = Annotated[str, Option(metavar="ADDRESS", help="the default is reached from this machine alone")]
Port = Annotated[int, Option(metavar="N", min=0, max=65535, help="0 takes a free one")]
Format = Annotated[str, choice("format", "onnx", "litert", "savedmodel")]
Quantize = Annotated[str | None, choice("quantization", "int8", more=", for onnx and litert")]
Picture = Annotated[str | None, Argument(metavar="PICTURE", help="a picture with faces")]
Method = Annotated[str, choice("method", "occlusion", "grad-cam", "grad-cam++")]
Measure = Annotated[bool, Option("--record", help="measure what ships on FER-2013, and record it")]
# fmt: on


@app.command()
def train(
    recipe: RecipeName, data: Data = None, folder: Folder = None, seed: Seed = 0, epochs: Epochs = None,
    minutes: Minutes = None, force: Force = False, record: Record = False, precision: Precision = "float32",
    devices: Devices = None, tensorboard: Tensorboard = None, checkpoints: Checkpoints = None,
):  # fmt: skip
    """Train a recipe and record it, or read its record. Stopped or killed, the same command goes on."""
    if data and folder:
        raise ValueError("Expected --data or --folder. Received: both. Leave one out.")
    import keras

    from fer_keras.recipes import own_recipe
    from fer_keras.training.callbacks import Checkpoints

    if folder:
        data = fer_keras.load_folder(folder)
        recipe = own_recipe(fer_keras.find_recipe(recipe), data)
    callbacks = [keras.callbacks.TensorBoard(tensorboard)] if tensorboard else []
    callbacks += [Checkpoints(checkpoints)] if checkpoints else []
    how = {"epochs": epochs, "minutes": minutes, "force": force, "callbacks": callbacks}
    how["devices"] = int(devices) if devices and devices.isdecimal() else devices
    run = fer_keras.fit(recipe, seed, faces=data, **how, **training_options(precision, record))
    scores = ", ".join(f"{split} {with_interval(metrics)}" for split, metrics in run.metrics.items())
    by_time = f"stopped by time, {run.epochs_run} of {run.recipe['epochs']} epochs"
    ended = by_time if run.stopped_by_time else f"ended by {run.stopped}"
    print(f"{run.run}: {scores}; best epoch {run.best_epoch} of {run.epochs_run}, {ended}")


def training_options(precision, record):
    """The options of every training; it prints a bar on a terminal, a line an epoch elsewhere."""
    verbose = "auto" if sys.stdout.isatty() else 2
    return {"precision": precision, "results": paths.results() if record else None, "verbose": verbose}


def with_interval(metrics, name="accuracy"):
    """A score with its 95 % interval."""
    return f"{metrics[name]:.4f} ({metrics[f'{name}_low']:.4f} to {metrics[f'{name}_high']:.4f})"


def show(table):
    """Print a table, dicts or a DataFrame without its index: text to the left, numbers to the right."""
    import pandas as pd

    table = pd.DataFrame(table)
    how = dict.fromkeys(table.select_dtypes("integer"), "{:,} ".format)
    for name in table.select_dtypes(exclude="number"):
        how[name] = f"{{!s:{table[name].astype(str).str.len().max()}}} ".format
    text = table.to_string(index=False, float_format="{:.4f}".format, formatters=how, justify="left")
    print(*map(str.strip, text.splitlines()), sep="\n")


@app.command()
def search(
    space: SpaceName = None, data: Data = None, seed: Seed = 0, minutes: Minutes = None, ray: Ray = None,
    workers: Workers = None, record: Record = False, precision: Precision = "float32",
):  # fmt: skip
    """Train the cells of a grid. Stopped or killed, the same command goes on."""
    if space is None:
        for each in pkgutil.resolve_name("fer_keras.recipes:SPACES").values():
            cells = math.prod(map(len, each.grid.values()))
            print(f"{each.name:16}{cells:>4} trainings of {each.recipe}: {each.source}")
        return
    if workers is not None and ray is None:
        raise ValueError("--workers is for --ray. Add it.")
    from fer_keras.training.search import search as train_grid

    how = {"minutes": minutes, "ray": True if ray == "" else ray, "workers": workers}
    show(train_grid(space, seed, faces=data, **how, **training_options(precision, record)).reset_index())


@app.command()
def label_errors(
    data: Data = None, seed: Seed = 0, folds: Folds = 3, gallery: Gallery = False, record: Record = False,
    precision: Precision = "float32",
):  # fmt: skip
    """Find likely label errors in the training images.

    A network is trained for each fold, and cleanlab compares its predictions for that fold with the labels. Stopped,
    the same command goes on from the last whole epoch. The rows of the likely errors are recorded, and how far the
    voters of FER+ agree.
    """
    from fer_keras.results import label_error_groups, label_error_table
    from fer_keras.training import label_errors as finding
    from fer_keras.training.data import load_recipe_data

    faces = load_recipe_data(fer_keras.find_recipe(finding.RECIPE), data)
    how = training_options(precision, record)
    found, rows = finding.find_label_errors(seed=seed, faces=faces, folds=folds, **how)
    for table in (label_error_table, label_error_groups)[: 2 if found["crowd"] else 1]:
        show(table(folder=how["results"] or paths.own_results()).reset_index())
    if gallery and len(rows):
        print(finding.gallery(faces, rows))


@app.command()
def evaluate(name: Name, data: Data = None, split: Split = "test", classes: Classes = None):
    """Score a network on a data set.

    Printed are accuracy and macro F1 with 95 % intervals, the calibration error, how many of the images the network
    was trained on, and precision, recall and F1 of each class.
    """
    scores = fer_keras.evaluate(name, fer_keras.load_faces(data), split=split, classes=classes)
    print(f"{scores['network']} on {scores['source']}, {split}: {scores['num_images']:,} images")
    scores |= {key: with_interval(scores, key) for key in ("accuracy", "macro_f1")}
    scores["classes_left_out"] = ", ".join(scores["classes_left_out"]) or "none"
    for key in ("accuracy", "macro_f1", "calibration_error", "training_images", "images_left_out", "classes_left_out"):
        print(f"{key.replace('_', ' '):20}{'unknown' if scores[key] is None else scores[key]}")
    show([{"class": each} | counts for each, counts in scores["per_class"].items()])


@app.command()
def ship(name: Trained, seed: Seed = 0, out: Out = None):
    """Write a recorded run's network and its card.

    The network is written for Keras and for ONNX Runtime, by default to the folder of what ships, else to a path that
    ends in .keras; the card says its classes, scores, terms and limits.
    """
    from fer_keras import training

    path = training.ship(name, seed, path=out)
    path.with_suffix(".onnx").unlink(missing_ok=True)  # of the network that was there before
    print(path, path.with_suffix(".json"), fer_keras.export(path, path.with_suffix(".onnx")), sep="\n")


@app.command()
def data(path: DataPath = None, skip: Skip = False):
    """Describe the data set at a path. Printed are counts, duplicates, faults, and how far FER+ agrees."""
    faces = fer_keras.load_faces(path, on_error="skip" if skip else "raise")
    print(faces, f"\n{fer_keras.audit(faces)}", *faces.skipped, sep="\n")


@app.command()
def fetch(what: Fetched, source: CopyOf = None):
    """Fetch the file of a detector into the cache. Its SHA-256 is checked; nothing else ever fetches it."""
    from fer_keras.recognition.detectors import fetch_yunet

    print(fetch_yunet(source))


@app.command()
def models(name: Model = None, classes: NumClasses = None):
    """List the networks, or the stages of one."""
    from fer_keras.models.summary import BUILDERS, describe_network

    networks = [{"network": each} | describe_network(each, classes) for each in ([name] if name else BUILDERS)]
    stages = [{"stage": stage.pop("label")} | stage for network in networks for stage in network.pop("stages")]
    show(stages if name else networks)
    if name:
        found = networks[0]
        print(f"{found['parameters']:,} parameters, {found['multiply_adds']:,} multiply-adds: {found['source']}")


@app.command()
def recipes(name: Listed = None):
    """List the recipes, or one's settings.

    Columns: network, data, split, epochs; of the record, validation accuracy in percent and training time as
    hours:minutes; the published accuracy in percent and what it was measured on.
    """
    from fer_keras.results import find_run, find_seeds

    def hours(run):
        return "{}:{:02}".format(*divmod(round(run.seconds / 60), 60))

    if name:
        recipe = fer_keras.RECIPES[name]
        fields = [(field.name, getattr(recipe, field.name), field.default) for field in dataclasses.fields(recipe)]
        lines = {key: value for key, value, default in fields if value != default}
        for run in find_seeds(name):
            accuracy = with_interval(run.metrics["validation"])
            lines[f"recorded, seed {run.seed}"] = f"validation {accuracy}, {hours(run)} hours on {run.device}"
        print(*(f"{key:24}{value}" for key, value in lines.items()), sep="\n")
        return
    rows = []
    for recipe in fer_keras.RECIPES.values():
        run = find_run(recipe, recipe.seeds[0])
        row = {"recipe": recipe.name, "network": recipe.model, "data": recipe.data, "split": recipe.protocol}
        row["epochs"] = f"{run.epochs_run} of {recipe.epochs}" if run and run.stopped_by_time else f"{recipe.epochs}"
        row["validation"] = f"{100 * run.metrics['validation']['accuracy']:.2f}" if run else "-"
        row["time"] = hours(run) if run else "-"
        row["published"] = f"{recipe.published} ({recipe.published_split})" if recipe.published else "-"
        rows.append(row)
    show(rows)


@app.command()
def recognize(
    pictures: Pictures, out: Copies = None, csv: Csv = None, json: Json = False, ray: Ray = None,
    out_data: OutData = None, workers: Workers = None, weights: Weights = None, classes: Classes = None,
    detector: Detector = None, min_confidence: Confidence = None, min_size: MinSize = None, mirrored: Mirrored = False,
    bars: Bars = False,
):  # fmt: skip
    """Recognise the expressions in pictures. One line a face; no picture is ever written over.

    With --ray: those in millions, to Parquet files; the same command, stopped or killed, goes on where it was.
    """
    options = recognizer_options(weights, classes, detector, min_confidence, mirrored, min_size=min_size)
    if ray is None:
        if out_data or workers:
            raise ValueError("--out-data and --workers are for --ray. Add it, or write the table with --csv.")
        from fer_keras.recognition.folders import list_faces

        return list_faces(pictures, out=out, csv=csv, bars=bars, as_json=json, **options)
    if not out_data or out or csv or json or len(pictures) > 1:
        needs = "--ray needs --out-data DIR, writes all it finds there (no --out, --csv or --json)"
        raise ValueError(f"{needs}, and takes one folder or .parquet file. Received: {len(pictures)}.")
    found = fer_keras.recognize_on_ray(pictures[0], out_data, address=ray or None, workers=workers, **options)
    earlier = f", {found.before:,} more were done before" if found.before else ""
    print(f"{found.folder}: {found.faces:,} faces in {found.pictures:,} pictures{earlier}")
    if found.errors:
        print(f"{found.errors:,} pictures cannot be read: the column `error` says why", file=sys.stderr)
    return 0


def recognizer_options(weights, classes, detector, min_confidence, mirrored, **more):
    """The options of `Recognizer`, and more, that were given on the command line."""
    values = {"network": weights, "classes": classes, "detector": detector, "min_confidence": min_confidence, **more}
    found = {name: value for name, value in values.items() if value is not None} | {"mirrored": mirrored}
    return found | ({"detector": None} if detector == "none" else {})


@app.command()
def video(
    source: Source, target: Target = None, start: Start = 0.0, stop: Stop = None, csv: Csv = None, every: Every = None,
    smooth: Smooth = None, weights: Weights = None, classes: Classes = None, detector: Detector = None,
    min_confidence: Confidence = None, mirrored: Mirrored = False, bars: Bars = False,
):  # fmt: skip
    """Recognise the expressions in a video. Ctrl-C keeps the table and the video that were written so far."""
    more = {"csv": csv, "every": every, "smoothing_seconds": smooth, "bars": bars or None}
    options = recognizer_options(weights, classes, detector, min_confidence, mirrored, **more)
    table = fer_keras.recognize_video(source, target, start=start, stop=stop, **options)
    frames = table["id"].value_counts()
    print(f"{source}: {table.attrs['frames']:,} frames; faces followed: {len(frames):,}")
    classes = table.columns[table.columns.get_loc("detected") + 1 :]
    for number, rows in table[table["id"].isin(frames.index[:SHOWN])].groupby("id"):
        words = ", ".join(f"{emotion} {mean:.2f}" for emotion, mean in rows[classes].mean().nlargest(3).items())
        print(f"face {number}: {rows['time'].iloc[0]:.1f} to {rows['time'].iloc[-1]:.1f} s, in the mean {words}")
    if len(frames) > SHOWN:
        print(f"and {len(frames) - SHOWN:,} that are seen for a shorter time; --csv writes them all")
    return {"whole": 0, "broken": 1, "stopped": 130}[table.attrs["ended"]]


@app.command()
def demo(
    host: Host = "127.0.0.1", port: Port = 7860, weights: Weights = None, classes: Classes = None,
    detector: Detector = None, min_confidence: Confidence = None, mirrored: Mirrored = False,
):  # fmt: skip
    """Serve a page for pictures, clips and the camera, to this machine alone."""
    from fer_keras.recognition.page import serve

    serve(host=host, port=port, **recognizer_options(weights, classes, detector, min_confidence, mirrored))


@app.command()
def export(name: Name, format: Format = "onnx", quantize: Quantize = None, out: Out = None, classes: Classes = None):
    """Write a network for other runtimes, by default by its name. Its predictions are compared with Keras'."""
    from fer_keras.recognition.export import read_card

    with silent_stderr():  # LiteRT prints as it starts, too
        path = fer_keras.export(name, out, classes=classes, format=format, quantize=quantize)
    card = read_card(path)
    found = card.get("quantized") or card["parity"]
    print(path, *(f"{key.replace('_', ' ')}: {value}" for key, value in found.items()), sep="\n")


@app.command()
def explain(
    picture: Picture = None, method: Method = "occlusion", out: Out = None, record: Measure = False,
    weights: Weights = None, classes: Classes = None, detector: Detector = None, min_confidence: Confidence = None,
    mirrored: Mirrored = False,
):  # fmt: skip
    """Draw where a network reads each face's emotion, by default to PICTURE's name with -explained.png.

    With --record: measure the heatmaps of the networks that ship, and their accuracy on corrupted images.
    """
    if record == bool(picture):
        raise ValueError("Expected the path of a picture, or --record. Received: both, or neither.")
    if record:
        from fer_keras.training.shipping import inspect

        print(f"measured: {', '.join(inspect([weights] if weights else None)) or 'all was'}")
        return
    from fer_keras.recognition.annotate import explain_picture

    options = recognizer_options(weights, classes, detector, min_confidence, mirrored)
    target = out or f"{Path(picture).stem}-explained.png"
    found = explain_picture(picture, target, method=method, **options)
    if not found:
        print(f"{picture}: no face")
    for face, shares in found:
        parts = ", ".join(f"{part} {shares[part]:.2f}" for part in sorted(shares, key=shares.get, reverse=True)[:3])
        print(f"{face.emotion} {face.confidence:.2f} at {face.box}; share of the heatmap: {parts}")
    print(target)


if __name__ == "__main__":
    sys.exit(main())
