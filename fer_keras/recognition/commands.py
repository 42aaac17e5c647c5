"""The commands that recognise; `__main__` adds them to its own. Nothing heavy is imported until one runs."""


def add_commands(commands):
    """Add the commands of this room to the subparsers of the command line."""
    add_recognize(commands)


def add_recognize(commands):
    """Add `recognize`."""
    parser = commands.add_parser("recognize", help="name the faces in pictures", description=recognize.__doc__)
    parser.add_argument("paths", metavar="PATH", nargs="+", help="a picture, or a folder of them")
    add_options(parser)
    parser.set_defaults(run=recognize)


def add_options(parser):
    """Add what every command that recognises lets one choose."""
    parser.add_argument("--weights", metavar="NAME", help="a shipped network, a trained recipe, or a file with a card")
    parser.add_argument("--detector", metavar="NAME", help="haar (the default), mtcnn, yunet:FILE, or none")
    parser.add_argument("--min-confidence", type=float, metavar="P", help="below it a face is called uncertain")


def chosen(options):
    """Return the options of `Recognizer` that were given on the command line."""
    found = {"network": options.weights, "detector": options.detector, "min_confidence": options.min_confidence}
    found = {name: value for name, value in found.items() if value is not None}
    return {name: None if value == "none" else value for name, value in found.items()}


def recognize(options):
    """Name the faces in pictures, one line a face."""
    from fer_keras.recognition.recognizer import Recognizer

    recognizer = Recognizer(**chosen(options))
    for path in options.paths:
        for face in recognizer.recognize(path):
            print(f"{path}: {face.emotion} {face.confidence:.2f} at {face.box}")
