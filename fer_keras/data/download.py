"""FER-2013 from Kaggle, through `kagglehub`."""

from pathlib import Path

from fer_keras.data import fer2013_csv
from fer_keras.data.problems import DataError

# Holds fer2013.csv as the 2013 challenge published it. The version is named so that everybody gets the same files, and
# so that kagglehub finds an earlier download without asking Kaggle.
HANDLE = "deadskull7/fer2013/versions/1"


def download(handle=HANDLE):
    """Download FER-2013 with `kagglehub`, which keeps it in its own cache, and return the folder it lies in.

    Kaggle may ask for credentials (`kagglehub.login()`, or `KAGGLE_API_TOKEN`). Without a network this fails at once,
    and within seconds behind a firewall that drops packets.

    Args:
        handle: the data set's name on Kaggle.

    Returns:
        The `Path` of the folder.

    Raises:
        DataError: if it cannot be downloaded, or holds nothing that can be read.
    """
    try:
        import kagglehub
    except ImportError as error:
        raise DataError("kagglehub is not installed: pip install 'fer_keras[data]'.") from error
    try:
        place = Path(kagglehub.dataset_download(handle))
    except Exception as error:  # kagglehub's exceptions have no base class of their own
        raise DataError(f"Kaggle did not give {handle}: {type(error).__name__}: {str(error)[:200]}") from error
    if fer2013_csv.find(place) is None:
        held = ", ".join(sorted(item.name for item in place.glob("*"))[:6]) or "nothing"
        raise DataError(f"{place}: Expected fer2013.csv in the download of {handle}. Received: {held}.")
    return place
