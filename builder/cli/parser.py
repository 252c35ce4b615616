"""The command line's verbs and options. A group of verbs is one function that adds them; no stage is imported here."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, NoReturn

import builder
from builder import errors
from builder.cli import deploy_parser, seat_parser, verb_groups

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIG = "configs/mlp.yaml"
"""What a verb takes that is given none."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are the tool's own: with ``--json`` they are printed as JSON, too."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        raise errors.UsageError(f"{message}; see `{self.prog} --help`")


def build() -> argparse.ArgumentParser:
    """Return the parser; what it parses names the function to call in ``verb``."""
    parser: argparse.ArgumentParser = _Parser(
        prog="numerai-builder",
        description=builder.__doc__,
        epilog="exit codes: 0 good, 1 a finding, 2 usage, config or bundle, 3 engine or image, 4 network, 5 refused, "
        "70 a bug of ours, 130 interrupted, 141 the reader of the output went away",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {builder.__version__}")
    verbs = verb_groups.Verbs(parser.add_subparsers(required=True, metavar="VERB", title="verbs"))
    for add_group in _GROUPS:
        add_group(verbs)
    return parser


def add_target(parser: argparse.ArgumentParser) -> None:
    """Add what a verb after the build is pointed at."""
    parser.add_argument(
        "target", nargs="?", default=CONFIG, metavar="CONFIG", help=f"or a dist/NAME folder; default: {CONFIG}"
    )


def _add_making(verbs: verb_groups.Verbs) -> None:
    make = verbs.add_engine("pickle", "pickle.run", "make the pickle of CONFIG in its image: dist/NAME/model.pkl")
    make.add_argument("config", nargs="?", default=CONFIG, metavar="CONFIG", help=f"default: {CONFIG}")
    make.add_argument("--pull", action="store_true", help="ask the registry even if the image is here")
    verb_groups.add_locked(make)
    render_text = "write the Dockerfile of CONFIG and its context; needs no engine"
    render = verbs.add("render", "render.run", render_text)
    render.add_argument("config", nargs="?", default=CONFIG, metavar="CONFIG", help=f"default: {CONFIG}")
    verb_groups.add_locked(render)
    validate_text = "run the pickle of CONFIG in its image under the tournament's limits"
    validate = verbs.add_engine("validate", "validate.run", validate_text)
    add_target(validate)
    verb_groups.add_locked(validate)
    validate.add_argument("--stand-in", metavar="PYTHON", help="run it in this look-alike, not where it was made")
    verify = verbs.add_engine("verify", "verify.run", "make the pickle of CONFIG again and compare the bytes")
    add_target(verify)
    verb_groups.add_locked(verify)


def _add_machine(verbs: verb_groups.Verbs) -> None:
    engine_text = "find a container engine; install and start one where that is possible"
    engine = verbs.add_engine("engine", "engine.engine", engine_text)
    engine.add_argument("--stop", action="store_true", help="stop the engine that this tool started")
    stand_in_text = "make a look-alike of the runner image with PYTHON (3.10 to 3.13, oldest, newest)"
    stand_in = verbs.add_engine("stand-in", "engine.make_stand_in", stand_in_text)
    stand_in.add_argument("--python", required=True, metavar="PYTHON", help="3.10 to 3.13; oldest or newest packages")


def _add_images(verbs: verb_groups.Verbs) -> None:
    pin_text = "pin the images of all configs in builder.lock.yaml by their digests, and say what changed"
    pin = verbs.add("pin", "images.pin", pin_text, json=True)
    pin.add_argument("what", nargs="*", metavar="CONFIG", help="or an image reference; default: every config")
    pin.add_argument("--check", action="store_true", help="change nothing; exit 1 where something moved")
    images_text = "list the tournament's images: which is the default, which are pinned here"
    verbs.add("images", "images.show", images_text, json=True)


def _add_bundles(verbs: verb_groups.Verbs) -> None:
    init = verbs.add("init", "bundles.write_config", "write the config of BUNDLE: configs/NAME.yaml")
    init.add_argument("--from", dest="bundle", required=True, metavar="BUNDLE", help="NAME.bundle.zip, or a folder")
    init.add_argument("--name", help="of the config; default: the bundle's")
    init.add_argument("--root", default=".", metavar="FOLDER", help="what holds configs/; default: the current folder")
    init.add_argument("--features", metavar="FILE", help="a features.json; default: FOLDER's own, or its v5.2's")
    init.add_argument("--force", action="store_true", help="replace the config that is there")
    init.add_argument("--json", action="store_true", help="print one JSON object")
    bundle = verbs.group("bundle", "show what is in a bundle, or check it")
    for name, text in (("show", "print what is in BUNDLE"), ("check", "print every fault of BUNDLE")):
        added = bundle.add(name, f"bundles.{name}", text, base=True)
        added.add_argument("bundle", metavar="BUNDLE", help="NAME.bundle.zip, or a folder")
        added.add_argument("--json", action="store_true", help="print one JSON object")


_GROUPS: tuple[Callable[[verb_groups.Verbs], None], ...] = (
    _add_making,
    _add_machine,
    _add_images,
    _add_bundles,
    deploy_parser.add,
    seat_parser.add,
)
