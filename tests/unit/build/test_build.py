"""A build: the pickle comes out as it was made, and nothing else is taken for one."""

from __future__ import annotations

import hashlib
import pickle
import pickletools
from typing import TYPE_CHECKING

import pytest

from builder import errors, progress
from builder.build import engine_build as build
from builder.build import manifest, render, verify
from builder.engine import protocol as engine
from builder.engine import run
from tests.support import bundles, engine_cases
from tests.support.fake_engine import FakeEngine

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from builder.progress import Progress

SAYING = """\
FROM {image} AS make
ARG RUN_ID
LABEL numerai-builder.run=$RUN_ID
WORKDIR /build
RUN ["python", "-c", {source}]
FROM scratch
ARG RUN_ID
LABEL numerai-builder.run=$RUN_ID
COPY --from=make /build/model.pkl /model.pkl
"""
WRITES = "open('model.pkl', 'wb').write(b'x'); "
REPORTS = """\
import hashlib, json; made = {'sha256': hashlib.sha256(b'x').hexdigest(), 'size': 1, 'protocol': 5, 'parameters': []}; \
print('numerai-builder:', json.dumps(made))"""


@pytest.fixture
def on(tmp_path: Path) -> FakeEngine:
    made = FakeEngine(tmp_path / "engine")
    made.add_image("runner:1")
    return made


def rendered(folder: Path) -> render.BuildContext:
    files = sorted(bundles.write_bundle(folder / "bundle").iterdir())
    plan = render.BuildPlan(post=[{"rank": {"scope": "era", "ties": "average"}}], config={})
    return render.render(name="small", base="runner:1", plan=plan, bundle_files=files)


def make(
    on: FakeEngine, text: render.BuildContext, target: Path, told: Progress | None = None
) -> manifest.PickleRecord:
    with run.start(on) as identity:
        return build.build(text, target, on, identity, progress=told or progress.Silent())


def saying(source: str) -> render.BuildContext:
    """Return a Dockerfile whose making of a pickle is this source."""
    return render.BuildContext(dockerfile=SAYING.format(image="runner:1", source=f'"{source}"'), context=())


def test_a_pickle_comes_out_as_it_was_made(on: FakeEngine, tmp_path: Path) -> None:
    told = engine_cases.Steps()
    made = make(on, rendered(tmp_path), tmp_path / "model.pkl", told)
    content = (tmp_path / "model.pkl").read_bytes()
    assert made == manifest.PickleRecord(
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        protocol=5,
        parameters=("live_features", "live_benchmark_models"),
    )
    assert next(pickletools.genops(content))[1] == 5
    assert told.said[-1] == "copying the pickle out"
    assert on.list_leftovers() == []
    assert make(on, rendered(tmp_path), tmp_path / "again.pkl") == made
    assert (tmp_path / "again.pkl").read_bytes() == content


def test_a_build_that_does_not_say_what_it_made_is_not_taken(on: FakeEngine, tmp_path: Path) -> None:
    with pytest.raises(errors.BuildError, match=r"without saying what it made.*run it again\. It printed last"):
        make(on, saying(WRITES + "print('good')"), tmp_path / "model.pkl")
    assert not (tmp_path / "model.pkl").exists()
    assert on.list_leftovers() == []


def test_what_a_model_prints_while_it_is_made_hides_nothing(on: FakeEngine, tmp_path: Path) -> None:
    source = WRITES + "print('loading', end='', flush=True); " + REPORTS
    assert make(on, saying(source), tmp_path / "model.pkl").size == 1


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        '{"sha256": 1}',
        '{"sha256"}',
        '{"a":' * 1_000 + "1" + "}" * 1_000,
        '{"sha256": "\x1b[2J", "size": 1, "protocol": 5, "parameters": []}',
    ],
)
def test_a_report_that_is_none_of_this_tool_is_refused(on: FakeEngine, tmp_path: Path, line: str) -> None:
    """The code of a custom model prints into the same log."""
    printed = f"numerai-builder: {line}".encode().hex()
    source = WRITES + REPORTS + f"; print(bytes.fromhex('{printed}').decode())"
    with pytest.raises(errors.BuildError, match=r"report is not one of this tool") as raised:
        make(on, saying(source), tmp_path / "model.pkl")
    assert "\x1b" not in str(raised.value)
    assert on.list_leftovers() == []


def test_a_pickle_that_is_not_the_one_that_was_made_is_not_taken(on: FakeEngine, tmp_path: Path) -> None:
    source = WRITES + REPORTS.replace("(b'x')", "(b'another')")
    with pytest.raises(
        errors.BuildError, match=r"made with sha256 \w{64} and arrived with 2d711642\w{56}: run it again"
    ):
        make(on, saying(source), tmp_path / "model.pkl")
    assert on.list_leftovers() == []


def test_a_step_that_fails_shows_what_it_printed(on: FakeEngine, tmp_path: Path) -> None:
    with pytest.raises(errors.BuildError, match=r"failed at Step 5/9 : RUN (.|\n)*\n    ZeroDivisionError"):
        make(on, saying("1 / 0"), tmp_path / "model.pkl")
    assert on.list_leftovers() == []


def test_a_disk_that_is_full_is_told_by_the_caller(on: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        make(on, saying(WRITES + REPORTS), tmp_path / "model.pkl")
    assert on.list_leftovers() == []


class _CutsShort(FakeEngine):
    """An engine that goes away in the middle of the copy."""

    def build(
        self,
        context: Iterable[bytes],
        /,
        *,
        run: str,
        arguments: Mapping[str, str],
        tag: str | None,
        cache: bool,
        progress: Progress,
    ) -> engine.BuildOutcome:
        made = super().build(context, run=run, arguments=arguments, tag=tag, cache=cache, progress=progress)
        image = self._images[made.image]
        (image.root / "model.pkl").unlink()
        return made


def test_a_pickle_that_is_not_in_the_image_is_an_error(tmp_path: Path) -> None:
    on = _CutsShort(tmp_path / "engine")
    on.add_image("runner:1")
    with pytest.raises(errors.EngineError, match=r"could not copy /model\.pkl out of"):
        make(on, saying(WRITES + REPORTS), tmp_path / "model.pkl")
    assert on.list_leftovers() == []


# ---- the same again


def test_pickles_that_differ_are_told_by_their_first_difference(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(pickle.dumps(["same", "left"], protocol=5))
    other.write_bytes(pickle.dumps(["same", "right"], protocol=5))
    assert verify._first_difference(one, other) == (
        "at byte 21: SHORT_BINUNICODE 'left' here, SHORT_BINUNICODE 'right' in the rebuilt one"
    )
    other.write_bytes(one.read_bytes() + b"more")
    assert verify._first_difference(one, other) == "one ends before the other"
