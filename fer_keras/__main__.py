"""The command line: `python -m fer_keras COMMAND`."""

import argparse
import os
import sys

from fer_keras import machines
from fer_keras.recognition import commands as recognition
from fer_keras.training import commands as training


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
        trains = getattr(options, "trains", False)
        print(f"stopped{'; the same command goes on from the last whole epoch' * trains}", file=sys.stderr)
        return 130


def parser():
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(prog="python -m fer_keras", description="Facial expression recognition in Keras.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    training.add_commands(commands)
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
    recipes_parser = commands.add_parser("recipes", help="list the recipes", description=recipes.__doc__)
    recipes_parser.set_defaults(run=recipes)
    recognition.add_commands(commands)
    return top


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


if __name__ == "__main__":
    sys.exit(machines.run(main))
