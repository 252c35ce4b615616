"""``label``: give a pickle a label."""

from __future__ import annotations

from typing import Annotated

from typer import Argument

from builder import errors
from builder.cli import api_session, terminal
from builder.cli.parameters import Json, Pickle
from builder.text import sanitize
from builder.tournament import slots


def run(
    *,
    pickle_name: Pickle,
    text: Annotated[str, Argument(metavar="TEXT", help="the label; an empty one removes it")],
    json_wanted: Json = False,
) -> int:
    """Give a pickle a label."""
    with terminal.progress() as progress, api_session.connect(progress) as api:
        pickle = slots.find_pickle(api, pickle_name)
        api.set_label(pickle.id, text)
        labelled = api.get_pickle(pickle.id)
    if labelled is None or labelled.label != text:
        label = repr(sanitize(labelled.label)) if labelled else "missing"
        raise errors.ApiError(f"{pickle.id}: the label was set to {text!r}, but the API returns {label}")
    if json_wanted:
        terminal.print_json({"format": 1, "pickle": labelled.id, "label": labelled.label, "before": pickle.label})
    else:
        terminal.print_lines(f"{sanitize(labelled.filename)} ({labelled.id}): {sanitize(labelled.label) or 'no label'}")
    return 0
