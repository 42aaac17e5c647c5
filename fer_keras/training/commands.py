"""The commands that train; `__main__` adds them to its own. Nothing heavy is imported until one runs."""

import dataclasses
import math
import os
import sys


def add_commands(commands):
    """Add the commands of this room to the subparsers of the command line."""
    add_train(commands)
    add_search(commands)
    add_label_errors(commands)


def add_train(commands):
    """Add `train`."""
    parser = commands.add_parser("train", help="train a recipe, or read its record", description=train.__doc__)
    parser.add_argument("recipe", metavar="RECIPE", help="name of a recipe (see `recipes`)")
    parser.add_argument("--data", metavar="PATH", help="FER-2013 in any form; default: FER_KERAS_DATA, cache, Kaggle")
    parser.add_argument("--folder", metavar="PATH", help="train on one's own pictures: a folder of class folders")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="fewer or more epochs than the recipe says (recorded as a variant)")
    parser.add_argument(
        "--minutes", type=float, metavar="N", help="cut the training short after N minutes; the same command goes on"
    )
    parser.add_argument("--force", action="store_true", help="train although there is a record, and overwrite it")
    add_precision(parser)
    parser.add_argument(
        "--devices", metavar="all|N", help="share each batch between all devices, of all machines of a group, or N"
    )
    parser.add_argument("--tensorboard", metavar="DIR", help="write TensorBoard's logs there")
    checkpoints_help = "write the network there at each fall of the validation loss, named with epoch and accuracy"
    parser.add_argument("--checkpoints", metavar="DIR", help=checkpoints_help)
    parser.set_defaults(run=train, trains=True)


def add_search(commands):
    """Add `search`."""
    parser = commands.add_parser("search", help="walk a grid of settings", description=search.__doc__)
    parser.add_argument("space", metavar="SPACE", nargs="?", help="name of a search space; none lists them")
    parser.add_argument("--data", metavar="PATH", help="as for `train`")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, metavar="N", help="begin no training after N minutes")
    ray_help = "train several at once on Ray: a cluster, or all cores of this machine"
    parser.add_argument("--ray", nargs="?", const=True, metavar="ADDRESS", help=ray_help)
    workers_help = "with --ray: how many at once; default: one a GPU, or one a core"
    parser.add_argument("--workers", type=int, metavar="N", help=workers_help)
    add_precision(parser)
    parser.set_defaults(run=search, trains=True)


def add_label_errors(commands):
    """Add `label-errors`."""
    parser = commands.add_parser(
        "label-errors", help="find likely label errors in the training images", description=label_errors.__doc__
    )
    parser.add_argument("--data", metavar="PATH", help="as for `train`")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folds", type=int, default=3, metavar="N", help="networks, each trained without a fold")
    parser.add_argument(
        "--gallery", action="store_true", help="draw the faces whose labels are least believed to build/private"
    )
    add_precision(parser)
    parser.set_defaults(run=label_errors, trains=True)


def add_precision(parser):
    """Add what every command that trains lets one choose."""
    help = "float32, or mixed_bfloat16 where the processor has it"
    parser.add_argument("--precision", default="float32", metavar="KIND", help=help)


def verbosity():
    """Return how much a training tells: a bar on a terminal, a line an epoch elsewhere."""
    return "auto" if sys.stdout.isatty() else 2


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
        from fer_keras.training.data import own_recipe, with_validation

        faces = with_validation(load_folder(options.folder))
        recipe = own_recipe(recipe, faces)
    from fer_keras.training import fit
    from fer_keras.training.data import load_recipe_data

    if faces is None and (options.data or os.environ.get("FER_KERAS_DATA")):
        faces = load_recipe_data(recipe, options.data, any_split=True)
        asked, recipe = recipe, for_split(recipe, faces.protocol)
        if recipe != asked:
            print(f"{asked.name} is for the {asked.protocol} split; this is {recipe.name}, on {faces.source}")
    run = fit(
        recipe,
        options.seed,
        faces=faces,
        path=options.data,
        force=options.force,
        verbose=verbosity(),
        tensorboard=options.tensorboard,
        checkpoints=options.checkpoints,
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
    from fer_keras.recipes import SPACES, find_space

    if not options.space:
        for space in SPACES.values():
            cells = math.prod(len(values) for values in space.grid.values())
            print(f"{space.name:16}{cells:>4} trainings of {space.recipe}: {space.source}")
        return
    space = find_space(options.space)
    if options.workers is not None and not options.ray:
        raise ValueError("--workers is for --ray. Add it.")
    from fer_keras.training.search import search as walk

    how = {"path": options.data, "minutes": options.minutes, "verbose": verbosity(), "precision": options.precision}
    how |= {"ray": options.ray, "workers": options.workers}
    table = walk(space, options.seed, **how)
    print(table.to_string(float_format="{:.4f}".format))


def label_errors(options):
    """Find likely label errors in FER-2013's training images, with cleanlab and networks that have not seen them.

    A network is trained for each fold; stopped, the same command goes on from the last whole epoch. The rows of the
    likely errors are recorded, and how far the voters of FER+ agree.
    """
    from fer_keras.recipes import find_recipe
    from fer_keras.results import label_error_groups, label_error_table
    from fer_keras.training.data import load_recipe_data
    from fer_keras.training.label_errors import RECIPE, find_label_errors, gallery

    faces = load_recipe_data(find_recipe(RECIPE), options.data)
    how = {"folds": options.folds, "precision": options.precision, "verbose": verbosity()}
    _, rows = find_label_errors(RECIPE, options.seed, faces=faces, **how)
    print(f"{label_error_table().to_string()}\n\n{label_error_groups().to_string()}")
    if options.gallery and len(rows):
        print(gallery(faces, rows))
