"""``label``: give a pickle a label."""

from __future__ import annotations

import json
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
    text: Annotated[str, Argument(metavar="TEXT", help="the label; an empty one takes it away")],
    json_wanted: Json = False,
) -> int:
    """Give a pickle a label."""
    with terminal.progress() as progress, api_session.connect(progress) as api:
        pickle = slots.find_pickle(api, pickle_name)
        api.set_label(pickle.id, text)
        now = api.get_pickle(pickle.id)
    if now is None or now.label != text:
        came = repr(sanitize(now.label)) if now else "nothing"
        raise errors.ApiError(f"{pickle.id}: was to be labelled {text!r} and, read back, its label is {came}")
    if json_wanted:
        print(json.dumps({"format": 1, "pickle": now.id, "label": now.label, "before": pickle.label}))
    else:
        print(f"{sanitize(now.filename)} ({now.id}): {sanitize(now.label) or 'no label'}")
    return 0
