"""From a recorded run to a network that ships: its file, and the card that says what it is."""

from pathlib import Path

from fer_keras.evaluation import fit_temperature
from fer_keras.models import weights
from fer_keras.results import find_run
from fer_keras.training.places import load_network

TERMS = (
    "FER-2013's pictures were collected from the web for research and are not part of this file, which holds trained "
    "values only. The file is under this package's licence; whether the terms of the data allow a use is the user's to "
    "check."
)
USE = (
    "Naming the expression of a face that was cut out of a photo, for study, teaching and software that the people "
    "pictured agreed to."
)
LIMITS = (
    "It names what strangers would call an expression, not what a person feels. FER+'s voters dispute many of "
    "FER-2013's labels, those of disgust and fear above all. Ages, genders and origins of the faces were never "
    "counted. Not for judging or watching people: not in hiring, schools, policing or at borders."
)


def ship(recipe, seed=0, *, path=None):
    """Write the network of a recorded run to the folder that ships, with its card.

    Args:
        recipe: name of a recipe that was trained on this machine.
        seed: int, of the run.
        path: of the `.keras` file, whose name the network takes; default below `models.weights.folder()`.

    Returns:
        The path of the `.keras` file.

    Raises:
        ValueError: if there is no such run, it is not final or was cut short, or its network is not on this machine.
    """
    run = find_run(recipe, seed)
    if run is None:
        raise ValueError(f"Expected a recorded run. Received: {recipe!r}, seed {seed}, which has none. Train it first.")
    if not run.final or run.stopped_by_time:
        raise ValueError(f"Expected a final run that was trained to its end. Received: {run.run!r}.")
    path = Path(path or weights.folder() / f"{recipe}.keras")
    if path.suffix != ".keras":
        raise ValueError(f"A network is written to a .keras file. Received: {path}.")
    network = load_network(run)
    weights.save(network, path, card(run, network, path.stem))
    return path


def card(run, network, name):
    """Return the card of a run's network, without the sum of its file."""
    height, width, channels = network.input_shape[1:]
    return {
        "name": name,
        "classes": list(run.classes),
        "input": {
            "shape": f"(batch, {height}, {width}, {channels})",
            "values": "grey, [0, 255]; the network scales them itself",
            "framing": "a face as FER-2013 cuts it: about square, from forehead to chin",
        },
        "recipe": run.recipe,
        "run": run.run,
        "data": run.data,
        "terms": TERMS,
        "metrics": run.metrics,
        **temperatures(run),
        "parameters": run.num_parameters,
        "multiply_adds": run.multiply_adds,
        "versions": run.versions,
        "intended_use": USE,
        "limits": LIMITS,
    }


def temperatures(run):
    """Return the temperatures that make a run's probabilities mean what they say, fitted on validation.

    A dict: `temperature`, and `temperature_mirrored` for the mean over image and mirror image if that was recorded.
    """
    found = {}
    for name, split in (("temperature", "validation"), ("temperature_mirrored", "validation_flip")):
        if split in run.metrics:
            said = run.predictions(split)
            found[name] = round(fit_temperature(said.labels, said.probabilities), 4)
    return found
