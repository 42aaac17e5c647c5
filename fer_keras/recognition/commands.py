"""The commands that recognise; `__main__` adds them to its own. Nothing heavy is imported until one runs."""

import contextlib
import sys
import warnings

HERE = ""  # no address
MOST_LINES = 20  # about the faces of a video


def add_commands(commands):
    """Add the commands of this room to the subparsers of the command line."""
    add_recognize(commands)
    add_video(commands)
    add_webcam(commands)
    add_demo(commands)
    add_export(commands)
    add_explain(commands)


def add_recognize(commands):
    """Add `recognize`."""
    parser = commands.add_parser("recognize", help="name the faces in pictures", description=recognize.__doc__)
    parser.add_argument("paths", metavar="PATH", nargs="+", help="a picture, a folder of them, or a .zip of one")
    parser.add_argument("--out", metavar="DIR", help="write copies with the named faces in them there")
    parser.add_argument("--csv", metavar="FILE", help="write a table, one row a face")
    parser.add_argument("--json", action="store_true", help="print a JSON object a picture, one a line")
    parser.add_argument(
        "--ray",
        nargs="?",
        const=HERE,
        metavar="ADDRESS",
        help="work on Ray: a cluster, or all cores of this machine",
    )
    parser.add_argument("--out-data", metavar="DIR", help="with --ray: write the table there, as Parquet files")
    parser.add_argument("--workers", type=int, metavar="N", help="with --ray: how many processes; default: one a core")
    add_options(parser)
    parser.set_defaults(run=recognize)


def add_options(parser):
    """Add what every command that recognises lets one choose."""
    parser.add_argument("--weights", metavar="NAME", help="a shipped network, a trained recipe, or a file with a card")
    parser.add_argument("--detector", metavar="NAME", help="haar (the default), mtcnn, yunet:FILE, or none")
    parser.add_argument("--min-confidence", type=float, metavar="P", help="below it a face is called uncertain")
    parser.add_argument("--mirrored", action="store_true", help="ask about each face's mirror image too")


def chosen(options):
    """Return the options of `Recognizer` that were given on the command line."""
    found = {"network": options.weights, "detector": options.detector, "min_confidence": options.min_confidence}
    found |= {"mirrored": options.mirrored or None}
    found = {name: value for name, value in found.items() if value is not None}
    return {name: None if value == "none" else value for name, value in found.items()}


def recognize(options):
    """Name the faces in pictures, one line a face. No picture is ever written over.

    With --ray: those in millions, to Parquet files; the same command, stopped or killed, goes on where it was.
    """
    if options.ray is not None:
        return recognize_many(options)
    if (options.out_data, options.workers) != (None, None):
        raise ValueError("--out-data and --workers are for --ray. Add it, or write the table with --csv.")
    from fer_keras.recognition.listing import list_faces

    return list_faces(options.paths, out=options.out, csv=options.csv, as_json=options.json, **chosen(options))


def recognize_many(options):
    """Write the faces in the pictures of one folder to Parquet files, on Ray; print how many there were."""
    if not options.out_data or options.out or options.csv or options.json:
        raise ValueError("--ray needs --out-data DIR, and writes all it finds there: no --out, --csv or --json.")
    if len(options.paths) != 1:
        raise ValueError(f"--ray takes one folder or .parquet file. Received: {len(options.paths)}. Name their folder.")
    from fer_keras.recognition.folders import recognize_folder

    where = {"out": options.out_data, "address": options.ray or None, "workers": options.workers}
    try:
        found = recognize_folder(options.paths[0], engine="ray", **where, **chosen(options))
    except KeyboardInterrupt:
        print("stopped; the same command goes on from there", file=sys.stderr)
        return 130
    earlier = f", {found.before:,} more were done before" if found.before else ""
    print(f"{found.folder}: {found.faces:,} faces in {found.pictures:,} pictures{earlier}")
    if found.errors:
        print(f"{found.errors:,} pictures cannot be read: the column `error` says why", file=sys.stderr)
    return 0


def add_video(commands):
    """Add `video`."""
    parser = commands.add_parser("video", help="name the faces in a video", description=video.__doc__)
    parser.add_argument("source", metavar="IN", help="a video")
    parser.add_argument("target", metavar="OUT", nargs="?", help="the video to write: .mp4, .mkv, .avi or .webm")
    parser.add_argument("--start", type=float, default=0.0, metavar="SECONDS", help="leave out what is before")
    parser.add_argument("--stop", type=float, metavar="SECONDS", help="leave out what is after")
    add_video_options(parser)
    parser.set_defaults(run=video)


def add_webcam(commands):
    """Add `webcam`."""
    parser = commands.add_parser("webcam", help="name the faces that a camera sees", description=webcam.__doc__)
    parser.add_argument("--camera", type=int, default=0, metavar="N", help="number of the camera; the first is 0")
    parser.add_argument("--out", dest="target", metavar="VIDEO", help="the video to write")
    add_video_options(parser)
    parser.set_defaults(run=webcam)


def add_video_options(parser):
    """Add what the commands on moving pictures let one choose."""
    parser.add_argument("--csv", metavar="FILE", help="the table to write, one row a face and frame")
    parser.add_argument("--every", type=int, metavar="N", help="detect on every N-th frame, follow in between")
    parser.add_argument("--smooth", type=float, metavar="SECONDS", help="time constant of the running mean; 0 for none")
    add_options(parser)


def video(options):
    """Name the faces in a video: a table, and the video with names in it. Ctrl-C keeps what was done."""
    from fer_keras.recognition.video import recognize_video

    with plain_warnings():
        table = recognize_video(
            options.source, options.target, start=options.start, stop=options.stop, **chosen_for_video(options)
        )
    return tell(table, options.source)


def webcam(options):
    """Show what a camera sees with the named faces in it, in a window, until q is pressed."""
    from fer_keras.recognition.webcam import watch

    with plain_warnings():
        table = watch(options.camera, options.target, **chosen_for_video(options))
    return tell(table, f"camera {options.camera}")


def chosen_for_video(options):
    """Return the options of `recognize_video` that were given on the command line."""
    found = {"csv": options.csv, "every": options.every, "smoothing_seconds": options.smooth}
    return {**{name: value for name, value in found.items() if value is not None}, **chosen(options)}


@contextlib.contextmanager
def plain_warnings():
    """Print warnings in one line, without where in the code they came from."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
        yield


def tell(table, name):
    """Print what a video shows, a line for each face that is seen long; return 0, 1 if it broke off, 130 if stopped."""
    seen = table["id"].value_counts()
    shown = seen.index[:MOST_LINES]
    print(f"{name}: {table.attrs['frames']:,} frames; faces followed: {len(seen):,}")
    classes = table.columns[list(table.columns).index("detected") + 1 :]
    for number, rows in table[table["id"].isin(shown)].groupby("id"):
        shares = rows[classes].mean().sort_values(ascending=False)[:3]
        words = ", ".join(f"{emotion} {share:.2f}" for emotion, share in shares.items())
        print(f"face {number}: {rows['time'].iloc[0]:.1f} to {rows['time'].iloc[-1]:.1f} s, in the mean {words}")
    if len(seen) > MOST_LINES:
        print(f"and {len(seen) - MOST_LINES:,} that are seen for a shorter time; --csv writes them all")
    return {"whole": 0, "broken": 1, "stopped": 130}[table.attrs["ended"]]


def add_demo(commands):
    """Add `demo`."""
    parser = commands.add_parser("demo", help="open a page for pictures and the camera", description=demo.__doc__)
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="default: this machine alone")
    parser.add_argument("--port", type=int, default=7860, metavar="N", help="default: 7860; 0 takes a free one")
    add_options(parser)
    parser.set_defaults(run=demo)


def demo(options):
    """Show a page in the browser: a picture or the camera in, named faces and where the network looks out."""
    from fer_keras.recognition.page_server import serve

    serve(host=options.host, port=options.port, **chosen(options))


def add_export(commands):
    """Add `export`."""
    parser = commands.add_parser("export", help="write a network for other runtimes", description=export.__doc__)
    parser.add_argument("name", metavar="NAME", help="a shipped network, a trained recipe, or a .keras file")
    parser.add_argument("--format", default="onnx", metavar="KIND", help="onnx (the default), litert or savedmodel")
    parser.add_argument("--quantize", metavar="KIND", help="int8, for onnx and litert")
    parser.add_argument("--out", metavar="PATH", help="default: the network's name in the working directory")
    parser.set_defaults(run=export)


def export(options):
    """Write a network for ONNX Runtime, LiteRT or TensorFlow, and say how well it agrees with the Keras network."""
    from fer_keras.recognition.export import export as write
    from fer_keras.recognition.export import read_card

    path = write(options.name, options.out, format=options.format, quantize=options.quantize)
    card = read_card(path)
    found = card.get("quantized") or card["parity"]
    print(path, *(f"{name.replace('_', ' ')}: {value}" for name, value in found.items()), sep="\n")


def add_explain(commands):
    """Add `explain`."""
    parser = commands.add_parser("explain", help="show where a network reads an emotion", description=explain.__doc__)
    parser.add_argument("picture", metavar="PICTURE", nargs="?", help="a picture with faces")
    parser.add_argument("--method", default="occlusion", metavar="M", help="occlusion, grad-cam or grad-cam++")
    parser.add_argument("--out", metavar="FILE", help="default: the picture's name and -explained.png, here")
    parser.add_argument("--record", action="store_true", help="measure what ships on FER-2013, and record it")
    add_options(parser)
    parser.set_defaults(run=explain)


def explain(options):
    """Write a picture with heat where the network reads each face's emotion.

    With --record: measure of the networks that ship where they look, whether that is true, and what damage does.
    """
    if options.record == bool(options.picture):
        raise ValueError("Expected the path of a picture, or --record. Received: both, or neither.")
    if options.record:
        from fer_keras.training.inspection import inspect

        print(f"measured: {', '.join(inspect([options.weights] if options.weights else None)) or 'all was'}")
        return
    from pathlib import Path

    from fer_keras.recognition.heat import explain_picture

    target = options.out or f"{Path(options.picture).stem}-explained.png"
    for face, shares in explain_picture(options.picture, target, method=options.method, **chosen(options)):
        parts = sorted(shares, key=lambda part: -shares[part])[:3]
        read = ", ".join(f"{part} {shares[part]:.2f}" for part in parts)
        print(f"{face.emotion} {face.confidence:.2f} at {face.box}; share of the heat: {read}")
    print(target)
