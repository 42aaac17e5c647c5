"""The processes that a process has started, on Linux."""

from pathlib import Path


def below(pid):
    """The ids of all that a process has started, and of those that they have, the deepest first."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for task in tasks for child in task.read_text().split()]
    return [each for child in children for each in (*below(child), child)]
