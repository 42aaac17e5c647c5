"""The recorded descriptions of the networks, which their diagrams are drawn from without Keras."""

from fer_keras.reporting.files import digest_of_code
from fer_keras.reporting.tables import find_table, write_table

TABLE = "networks"


def read(name, *, folder=None):
    """Return the recorded description of a network, as `models.catalogue.describe_network` made it, or None."""
    return recorded(folder).get("networks", {}).get(name)


def write(descriptions, *, folder=None):
    """Record the descriptions of all networks, a dict by name, with the digest of the code that built them."""
    write_table(TABLE, {"sources": sources_digest(), "networks": descriptions}, folder=folder)


def problems(*, folder=None):
    """Return a message if what is recorded was made from other code than today's; else nothing."""
    fresh = recorded(folder).get("sources") == sources_digest()
    return [] if fresh else ["the recorded networks are not those of today's code: run `make report`"]


def recorded(folder):
    """Return the whole recorded table, empty if there is none."""
    return find_table(TABLE, folder=folder) or {}


def sources_digest():
    """Return a hex digest of the code that builds networks."""
    return digest_of_code("models")
