"""Everything at once: `report` makes it, `check` says what is not as it would be made."""

import re

from fer_keras import paths
from fer_keras.profile import profile
from fer_keras.reporting import figures, notebook_files, render
from fer_keras.reporting.leaderboard import as_csv, write_leaderboard
from fer_keras.reporting.runs import read_runs

SAVED = re.compile(r"figures\.save\(.*?[\"']([\w@-]+)[\"']\s*,\s*inputs", re.DOTALL)


def report(*, run_notebooks=True, force=False):
    """Make everything that is generated: leaderboard, figures, notebooks, README and the report; print where to look.

    Where nothing changed nothing is written. In the full profile the audit and the mean faces are recorded from
    FER-2013 first. No recipe is trained.

    Args:
        run_notebooks: False leaves the notebooks as they are.
        force: True writes all notebooks, also those that say the same as before.

    Returns:
        The path of the report's page.

    Raises:
        ValueError: if the data is not what it should be, a notebook fails or a mark is wrong.
    """
    from fer_keras.reporting import notebooks, page

    data = data_at_hand()
    if run_notebooks:
        notebooks.execute_all(data=data, force=force)
    write_leaderboard()
    redrawn = figures.redraw_all()
    print(f"figures redrawn: {', '.join(redrawn) or 'none, all are fresh'}")
    changed = [path.name for path in render.refill()]
    print(f"documents refilled: {', '.join(changed) or 'none, all are fresh'}")
    target = page.write_page()
    executed = paths.project() / "notebooks" if profile() == "full" else paths.build() / "notebooks"
    print(f"\nThe report:    {target}\nThe notebooks: {executed}\nThe results:   {paths.results() / 'leaderboard.csv'}")
    return target


def data_at_hand():
    """Return the fingerprint of the data; in the full profile, record the audit and the mean faces of FER-2013."""
    if profile() == "quick":
        return "drawn faces"
    from fer_keras.reporting.from_data import record_data

    print("reading FER-2013 …", flush=True)
    return record_data()


def check():
    """Return what is not as `report` would make it, a message each; empty if all is fresh."""
    problems = []
    board = paths.results() / "leaderboard.csv"
    if not board.is_file() or board.read_text(encoding="utf-8") != as_csv(read_runs()):
        problems.append(f"{board.name} is not today's: run `make report`")
    notebooks = notebook_files.all_notebooks()
    if not notebooks:
        problems.append(f"there are no notebooks in {paths.project() / 'notebooks'}")
    for path in notebooks:
        problems += notebook_files.problems(path) + borrowed_figures(path)
    return problems + figures.stale() + render.stale()


def borrowed_figures(path):
    """Return a message for each figure that a notebook saves though it belongs to another."""
    code = "\n".join(map(notebook_files.source, notebook_files.cells(notebook_files.read(path), "code")))
    number = int(path.name[:2])
    return [
        f"{path.name}: saves figure {name!r}, which belongs to notebook {figures.find_entry(name).notebook:02d}"
        for name in SAVED.findall(code)
        if figures.find_entry(name).notebook != number
    ]
