"""Where the state and the network of a run lie on this machine."""

import keras

from fer_keras import paths
from fer_keras.paths import write_changed
from fer_keras.results import runs


def run_folder(recipe, seed, faces):
    """Return the folder of a run's state and network."""
    name = runs.run_id(recipe.name, recipe.digest, seed)
    return paths.build() / "runs" / folder_name(name, faces.fingerprint)


def folder_name(run_name, fingerprint):
    """Return the name of a run's folder: other data, other folder."""
    return f"{run_name}-{fingerprint[:8]}"


def load_network(run):
    """Return the trained `keras.Model` of a run.

    Args:
        run: a `Run` that was trained on this machine.

    Raises:
        ValueError: if its network is not on this machine.
    """
    return keras.saving.load_model(network_path(run), compile=False, safe_mode=True)


def network_path(run):
    """Return where a run's network lies; raise a `ValueError` if it is not on this machine."""
    path = network_place(run)
    if not path.is_file():
        raise ValueError(
            f"The network of run {run.run!r} is not on this machine: expected {path}. "
            f"Train it: python -m fer_keras train {run.recipe_name} --seed {run.seed} --force."
        )
    return path


def network_place(run):
    """Return where a run's network belongs."""
    return paths.build() / "runs" / folder_name(run.run, run.data["fingerprint"]) / "model.keras"


def fetch_network(run, devices):
    """Return where a run's network lies; on other machines than the first process's, a copy of what it has."""
    if devices.processes == 1:
        return network_path(run)
    content = devices.told(lambda: network_path(run).read_bytes())
    path = network_place(run)
    write_changed(path, content)
    return path
