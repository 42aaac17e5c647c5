"""What tests and notebooks share: the quick profile, the package of this checkout, and folders as absolute paths.

Kernels that nbval starts inherit this environment, but start in notebooks/ and may find another package installed.
"""

import os
from pathlib import Path

os.environ["FER_PROFILE"] = "quick"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))
for name, value in list(os.environ.items()):
    if name.startswith("FER_KERAS_") and value:
        os.environ[name] = str(Path(value).expanduser().resolve())
