"""All modules of fer_keras, the networks that ship, and OpenCV's cascades."""

from importlib.util import find_spec

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

hiddenimports = collect_submodules("fer_keras")
datas = collect_data_files("fer_keras") + (collect_data_files("cv2", subdir="data") if find_spec("cv2") else [])
