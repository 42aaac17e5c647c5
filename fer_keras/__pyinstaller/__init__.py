"""PyInstaller's hook for this package, whose modules are imported when they are first used, which it cannot see."""

from pathlib import Path


def get_hook_dirs() -> list[str]:
    """Folders of hooks, as PyInstaller asks for them."""
    return [str(Path(__file__).parent)]
