"""``label``: give a pickle a label."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from builder import errors
from builder.cli import api_session, terminal
from builder.text import one_line

if TYPE_CHECKING:
    import argparse


def run(options: argparse.Namespace) -> int:
    """Give a pickle a label."""
    from builder.tournament import slots  # noqa: PLC0415

    with terminal.progress() as progress, api_session.connect(progress) as api:
        pickle = slots.find_pickle(api, options.pickle)
        api.set_label(pickle.id, options.text)
        now = api.pickle(pickle.id)
    if now is None or now.label != options.text:
        came = repr(one_line(now.label)) if now else "nothing"
        raise errors.ApiError(f"{pickle.id}: was to be labelled {options.text!r} and, read back, its label is {came}")
    if options.json:
        print(json.dumps({"format": 1, "pickle": now.id, "label": now.label, "before": pickle.label}))
    else:
        print(f"{one_line(now.filename)} ({now.id}): {one_line(now.label) or 'no label'}")
    return 0
