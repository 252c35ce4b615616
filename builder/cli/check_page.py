"""``check --report``: write the answer about a pickle as a page."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from builder import errors, paths

if TYPE_CHECKING:
    from builder.validate.page import content

Report = Annotated[Path | None, Option("--report", metavar="FILE", help="also write the answer as an HTML page")]
Open = Annotated[bool, Option("--open", help="open the page of --report in a browser")]


def check_options(report: Path | None, *, open_wanted: bool) -> None:
    """Check the options before anything else is done.

    Raises:
        errors.UsageError: The page cannot be written there, or is to be opened and not written.
    """
    if report is None:
        if open_wanted:
            raise errors.UsageError("--open requires --report FILE; pass both or neither")
        return
    if report.suffix.lower() not in {".html", ".htm"}:  # such as the pickle itself
        raise errors.UsageError(f"--report {report}: is not an HTML file; pass a name that ends in .html")
    if not report.absolute().parent.is_dir():
        raise errors.UsageError(f"--report {report}: {report.parent} is not a folder; create it, or pass another file")


def write(report: Path, answer: content.PickleAnswer, *, open_wanted: bool) -> None:
    """Write the page, and open it if wanted.

    Raises:
        errors.UsageError: It cannot be written.
    """
    from builder.validate.page import compose  # noqa: PLC0415 - matplotlib

    page = compose.compose_check(answer)
    try:
        paths.write_atomically(report, page)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise errors.UsageError(f"--report {report}: cannot be written: {reason}; pass another file") from error
    if open_wanted:
        webbrowser.open(report.absolute().as_uri())
