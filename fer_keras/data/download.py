"""FER-2013 from Kaggle, through `kagglehub`."""

from pathlib import Path

from fer_keras.data.dataset import DataError, Problems
from fer_keras.data.forms import identify
from fer_keras.labels import count_difference

# Holds fer2013.csv as the 2013 challenge published it. The version is named so that everybody gets the same files, and
# so that kagglehub finds an earlier download without asking Kaggle.
HANDLE = "deadskull7/fer2013/versions/1"

# What is known of FER-2013's copies on Kaggle: the split they have, whose counts are published.
PROTOCOLS = {
    "deadskull7/fer2013": "official",
    "msambare/fer2013": "official",
    "jonathanoheix/face-expression-recognition-dataset": "folders",
}


def download(handle=HANDLE):
    """Download FER-2013 with `kagglehub`, which keeps it in its own cache, and return the folder it lies in.

    What comes is read, and its images counted by split and class, before it is trusted. Kaggle may ask for credentials
    (`kagglehub.login()`, or `KAGGLE_API_TOKEN`). Without a network this fails at once, and within seconds behind a
    firewall that drops packets.

    Args:
        handle: the data set's name on Kaggle, one of `PROTOCOLS`, with or without its version.

    Returns:
        The `Path` of the folder, for `load_fer7`.

    Raises:
        DataError: if it cannot be downloaded, holds nothing that can be read, or not the published images.
    """
    name = "/".join(handle.split("/")[:2])
    if name not in PROTOCOLS:
        raise DataError(f"Expected one of {', '.join(PROTOCOLS)}. Received: {handle!r}, of which no counts are known.")
    try:
        import kagglehub
    except ImportError as error:
        raise DataError("kagglehub is not installed: pip install 'fer_keras[data]'.") from error
    try:
        place = Path(kagglehub.dataset_download(handle))
    except Exception as error:  # kagglehub's exceptions have no base class of their own
        raise DataError(f"Kaggle did not give {handle}: {type(error).__name__}: {str(error)[:200]}") from error
    verify(place, PROTOCOLS[name], handle)
    return place


def verify(place, protocol, handle):
    """Raise a `DataError` unless the images at a place are those that were published with a protocol."""
    form, found = identify(place, protocol=protocol)
    faces = form.read(found, Problems())
    wrong = count_difference(protocol, faces.counts().T.to_dict())
    if faces.protocol != protocol:
        wrong = f"expected the {protocol} split; received {faces.source}"
    if wrong:
        raise DataError(f"{place}: Expected {handle} as it was published. Received other images. {wrong}.")
