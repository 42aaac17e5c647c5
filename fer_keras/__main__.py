"""The command line: `python -m fer_keras COMMAND`."""

import argparse
import dataclasses
import math
import os
import sys

from fer_keras import machines
from fer_keras.recognition.commands import add_commands


def main(arguments=None):
    """Run one command; return the exit status: 0, or 2 after a clear error."""
    options = parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        status = options.run(options) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # who reads has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        trains = options.run in (train, search, label_errors)
        print(f"stopped{'; the same command goes on from the last whole epoch' * trains}", file=sys.stderr)
        return 130


def parser():
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(prog="python -m fer_keras", description="Facial expression recognition in Keras.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    train_parser = commands.add_parser("train", help="train a recipe, or read its record", description=train.__doc__)
    train_parser.add_argument("recipe", metavar="RECIPE", help="name of a recipe (see `recipes`)")
    train_parser.add_argument(
        "--data", metavar="PATH", help="FER-2013 in any form; default: FER_KERAS_DATA, cache, Kaggle"
    )
    train_parser.add_argument("--folder", metavar="PATH", help="train on one's own pictures: a folder of class folders")
    train_parser.add_argument("--seed", type=int, default=0)
    train_parser.add_argument(
        "--epochs", type=int, help="fewer or more epochs than the recipe says (recorded as a variant)"
    )
    train_parser.add_argument(
        "--minutes", type=float, metavar="N", help="cut the training short after N minutes; the same command goes on"
    )
    train_parser.add_argument("--force", action="store_true", help="train although there is a record, and overwrite it")
    add_precision(train_parser)
    train_parser.add_argument(
        "--devices", metavar="all|N", help="share each batch between all devices, of all machines of a group, or N"
    )
    train_parser.add_argument("--tensorboard", metavar="DIR", help="write TensorBoard's logs there")
    train_parser.set_defaults(run=train)

    search_parser = commands.add_parser("search", help="walk a grid of settings", description=search.__doc__)
    search_parser.add_argument("space", metavar="SPACE", nargs="?", help="name of a search space; none lists them")
    search_parser.add_argument("--data", metavar="PATH", help="as for `train`")
    search_parser.add_argument("--seed", type=int, default=0)
    search_parser.add_argument("--minutes", type=float, metavar="N", help="begin no training after N minutes")
    ray_help = "train several at once on Ray: a cluster, or all cores of this machine"
    search_parser.add_argument("--ray", nargs="?", const=True, metavar="ADDRESS", help=ray_help)
    workers_help = "with --ray: how many at once; default: one a GPU, or one a core"
    search_parser.add_argument("--workers", type=int, metavar="N", help=workers_help)
    add_precision(search_parser)
    search_parser.set_defaults(run=search)

    errors_parser = commands.add_parser(
        "label-errors", help="find likely label errors in the training images", description=label_errors.__doc__
    )
    errors_parser.add_argument("--data", metavar="PATH", help="as for `train`")
    errors_parser.add_argument("--seed", type=int, default=0)
    errors_parser.add_argument(
        "--folds", type=int, default=3, metavar="N", help="networks, each trained without a fold"
    )
    errors_parser.add_argument(
        "--gallery", action="store_true", help="draw the faces whose labels are least believed to build/private"
    )
    add_precision(errors_parser)
    errors_parser.set_defaults(run=label_errors)

    ship_parser = commands.add_parser("ship", help="write a trained network and its card", description=ship.__doc__)
    ship_parser.add_argument("recipe", metavar="RECIPE", help="name of a recipe that was trained on this machine")
    ship_parser.add_argument("--seed", type=int, default=0)
    ship_parser.add_argument("--out", metavar="FILE.keras", help="default: the package's folder of weights")
    ship_parser.set_defaults(run=ship)

    data_parser = commands.add_parser("data", help="say what lies at a path, and its faults", description=data.__doc__)
    data_parser.add_argument("path", metavar="PATH", nargs="?", help="default: FER_KERAS_DATA, cache, Kaggle")
    data_parser.add_argument("--skip", action="store_true", help="list every bad row or picture, instead of the first")
    data_parser.set_defaults(run=data)
    models_parser = commands.add_parser("models", help="list the networks, or one's stages", description=models.__doc__)
    models_parser.add_argument("name", metavar="NAME", nargs="?", help="one network, stage by stage")
    models_parser.add_argument("--classes", type=int, help="number of classes; default as in the network's recipes")
    models_parser.set_defaults(run=models)
    for command, words in (
        (recipes, "list the recipes"),
        (report, "execute the notebooks, redraw the figures, refill README and report"),
        (notebooks, "execute the notebooks only"),
        (check, "say what is not as `report` would make it"),
    ):
        one = commands.add_parser(command.__name__, help=words, description=command.__doc__)
        one.set_defaults(run=command)
        if command in (report, notebooks):
            one.add_argument("--force", action="store_true", help="write everything anew, e.g. after a change of style")
    add_commands(commands)
    return top


def add_precision(parser):
    """Add what both commands that train let one choose."""
    help = "float32, or mixed_bfloat16 where the processor has it"
    parser.add_argument("--precision", default="float32", metavar="KIND", help=help)


def train(options):
    """Train a recipe to its end and record it. Killed, the same command goes on from the last whole epoch."""
    from fer_keras.recipes import find_recipe, for_split

    recipe, faces = find_recipe(options.recipe), None
    if options.epochs not in (None, recipe.epochs):
        if options.epochs < 1:
            raise ValueError(f"--epochs must be at least 1. Received: {options.epochs}.")
        recipe = dataclasses.replace(recipe, name=f"{recipe.name}@epochs-{options.epochs}", epochs=options.epochs)
    if options.folder:
        from fer_keras.data import load_folder

        faces = load_folder(options.folder)
        own = {"data": "own", "protocol": "own", "class_names": faces.classes}
        recipe = dataclasses.replace(recipe, name=f"{recipe.name}@own", **own)
    from fer_keras.training import fit
    from fer_keras.training.material import load

    if faces is None and (options.data or os.environ.get("FER_KERAS_DATA")):
        faces = load(recipe, options.data, any_split=True)
        asked, recipe = recipe, for_split(recipe, faces.protocol)
        if recipe != asked:
            print(f"{asked.name} is for the {asked.protocol} split; this is {recipe.name}, on {faces.source}")
    verbose = "auto" if sys.stdout.isatty() else 2
    run = fit(
        recipe,
        options.seed,
        faces=faces,
        path=options.data,
        force=options.force,
        verbose=verbose,
        tensorboard=options.tensorboard,
        minutes=options.minutes,
        precision=options.precision,
        devices=int(options.devices) if str(options.devices).isdecimal() else options.devices,
    )
    print(describe(run))


def describe(run):
    """Return a run's outcome in one line."""
    parts = [
        f"{split} {scores['accuracy']:.4f} ({scores['accuracy_low']:.4f} to {scores['accuracy_high']:.4f})"
        for split, scores in run.metrics.items()
    ]
    return f"{run.run}: {', '.join(parts)}; best epoch {run.best_epoch} of {run.epochs_run}, ended by {run.stopped}"


def search(options):
    """Train every cell of a grid, or as many as time allows; the same command goes on where it was stopped."""
    from fer_keras.recipes.spaces import SPACES, find_space

    if not options.space:
        for space in SPACES.values():
            cells = math.prod(len(values) for values in space.grid.values())
            print(f"{space.name:16}{cells:>4} trainings of {space.recipe}: {space.source}")
        return
    space = find_space(options.space)
    if options.workers is not None and not options.ray:
        raise ValueError("--workers is for --ray. Add it.")
    from fer_keras.training.search import search as walk

    verbose = "auto" if sys.stdout.isatty() else 2
    how = {"path": options.data, "minutes": options.minutes, "verbose": verbose, "precision": options.precision}
    how |= {"ray": options.ray, "workers": options.workers}
    table = walk(space, options.seed, **how)
    print(table.to_string(float_format="{:.4f}".format))


def label_errors(options):
    """Find likely label errors in FER-2013's training images, with cleanlab and networks that have not seen them.

    A network is trained for each fold; stopped, the same command goes on from the last whole epoch. The rows of the
    likely errors are recorded, and how far the voters of FER+ agree.
    """
    from fer_keras.recipes import find_recipe
    from fer_keras.reporting import text
    from fer_keras.training.label_errors import RECIPE, find_label_errors, gallery
    from fer_keras.training.material import load

    faces = load(find_recipe(RECIPE), options.data)
    how = {"folds": options.folds, "precision": options.precision, "verbose": "auto" if sys.stdout.isatty() else 2}
    _, rows = find_label_errors(RECIPE, options.seed, faces=faces, **how)
    print(f"{text('label-errors')}\n\n{text('label-errors-verdict')}")
    if options.gallery and len(rows):
        print(gallery(faces, rows))


def ship(options):
    """Write the network of a recorded run, for Keras and ONNX Runtime, and its card: classes, scores, terms, limits."""
    from fer_keras.recognition.export import export
    from fer_keras.training.shipping import ship as write

    path = write(options.recipe, options.seed, path=options.out)
    path.with_suffix(".onnx").unlink(missing_ok=True)  # of the network that was there before
    print(path, path.with_suffix(".json"), export(path, path.with_suffix(".onnx")), sep="\n")


def recipes(options):
    """List the recipes: network, data, protocol, and what the authors published."""
    from fer_keras.recipes import RECIPES

    for recipe in RECIPES.values():
        published = (
            f"published {recipe.published} ({recipe.published_split})" if recipe.published else "no figure published"
        )
        print(f"{recipe.name:26}{recipe.model:22}{recipe.data:10}{recipe.protocol:10}{published}")


def models(options):
    """List the networks: classes, parameters, multiply-adds, input, source. With a name: its stages."""
    from fer_keras.models import MODELS
    from fer_keras.models.catalogue import describe_network

    if options.name:
        list_stages(describe_network(options.name, options.classes))
        return
    print(f"{'network':22}{'classes':>8}{'parameters':>14}{'multiply-adds':>15}  {'input':10}source")
    for name in MODELS:
        found = describe_network(name, options.classes)
        size = "x".join(map(str, found["input"]))
        work = f"{found['multiply_adds'] / 1e6:,.1f} M"
        print(
            f"{name:22}{found['num_classes']:>8}{found['parameters']:>14,}{work:>15}  {size:10}{found['source']}",
            flush=True,
        )


def list_stages(network):
    """Print the stages of a network."""
    print(f"{'stage':26}{'output':>14}{'parameters':>14}{'multiply-adds':>15}")
    for stage in network["stages"]:
        output = "x".join(map(str, stage["shape"]))
        name = " ".join([stage["label"], *stage["marks"]])
        print(f"{name:26}{output:>14}{stage['parameters']:>14,}{stage['multiply_adds']:>15,}")
    print(f"{'':40}{network['parameters']:>14,}{network['multiply_adds']:>15,}\n{network['source']}")


def data(options):
    """Say what lies at a path, of whatever form: counts, copies, faults, and what FER+ says of it."""
    from fer_keras.data import audit, load_faces

    faces = load_faces(options.path, on_error="skip" if options.skip else "raise")
    print(f"{faces}\n\n{audit(faces)}")
    print("\n".join(faces.skipped))


def report(options):
    """Execute every notebook, redraw every figure, refill README and report, write reports/report.html."""
    from fer_keras import reporting
    from fer_keras.models.catalogue import record_networks

    record_networks()
    reporting.report(force=options.force)


def notebooks(options):
    """Execute every notebook: with FER-2013 in full, over the committed ones; without it to build/notebooks."""
    from fer_keras.reporting.make import data_at_hand
    from fer_keras.reporting.notebooks import execute_all

    execute_all(data=data_at_hand(), force=options.force)


def check(options):
    """Say what is not as `report` would make it; exit with 1 if anything is not."""
    from fer_keras import reporting
    from fer_keras.reporting import networks

    problems = reporting.check() + networks.problems()
    print("\n".join(problems) or "All generated text, figures and notebooks are fresh.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(machines.run(main))
