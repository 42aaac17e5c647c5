"""A window with the camera's picture and the named faces in it, where windows can be opened."""

import os
import re
import sys

import cv2

QUIT = (ord("q"), 27)  # q, Escape
INSTEAD = (
    "Without one: `python -m fer_keras demo` shows a page in the browser that can use its camera, "
    "`python -m fer_keras video` names the faces in a file."
)


def watch(camera=0, target=None, *, title="fer_keras: q ends", **options):
    """Show a camera's picture with the named faces in it, until q, Escape or the window's cross is pressed.

    Args:
        camera: int, the camera's number; the first is 0.
        target: path of a video to write, or None.
        title: str, of the window.
        options: further ones of `recognize_video`.

    Returns:
        The table that `recognize_video` returns.

    Raises:
        ValueError: if no window can be opened here, with what to do; or as `recognize_video`.
    """
    from fer_keras.recognition.video import recognize_video

    reason = why_no_window()
    if reason:
        raise ValueError(f"The webcam needs a window. {reason} {INSTEAD}")
    try:
        return recognize_video(camera, target, show=lambda rgb: show(rgb, title), **options)
    finally:
        cv2.destroyAllWindows()


def show(rgb, title):
    """Show a picture in the window of that title; return whether to go on."""
    cv2.imshow(title, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    pressed = cv2.waitKey(1) & 0xFF
    return pressed not in QUIT and cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1


def why_no_window():
    """Return in words why no window can be opened here, and None if one can."""
    if "ipykernel" in sys.modules:
        return "No window is opened from a notebook."
    on_linux = sys.platform not in ("win32", "darwin")
    if on_linux and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "This machine has no display (neither DISPLAY nor WAYLAND_DISPLAY is set)."
    found = re.search(r"^\s*GUI:\s*(\S+)", cv2.getBuildInformation(), re.MULTILINE)
    if found is None or found[1] == "NONE":
        return (
            "This OpenCV is built without windows (opencv-python-headless). "
            'Run: pip uninstall -y opencv-python-headless && pip install "opencv-python<5".'
        )
    return None
