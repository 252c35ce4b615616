"""Building a pickle with an engine: it is copied out unchanged, and any other result is refused."""

from __future__ import annotations

import hashlib
import pickle
import pickletools
from typing import TYPE_CHECKING

import pytest

from builder import errors, progress
from builder.build import engine_build, manifest, render, verify
from builder.engine import protocol, run
from tests.support import bundles, engine_cases
from tests.support.fake_engine import FakeEngine

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from builder.progress import Progress

DOCKERFILE = """\
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
WRITE_PICKLE = "open('model.pkl', 'wb').write(b'x'); "
PRINT_REPORT = """\
import hashlib, json; \
record = {'sha256': hashlib.sha256(b'x').hexdigest(), 'size': 1, 'protocol': 5, 'parameters': []}; \
report = {'format': 2, 'pickle': record, 'warnings': []}; \
print('numerai-builder:', json.dumps(report))"""


@pytest.fixture
def engine(tmp_path: Path) -> FakeEngine:
    fake_engine = FakeEngine(tmp_path / "engine")
    fake_engine.add_image("runner:1")
    return fake_engine


def create_context(folder: Path) -> render.BuildContext:
    files = sorted(bundles.write_bundle(folder / "bundle").iterdir())
    plan = render.BuildPlan(post=[{"rank": {"scope": "era", "ties": "average"}}], config={})
    return render.render(name="small", base="runner:1", plan=plan, bundle_files=files)


def build_with(
    engine: FakeEngine, context: render.BuildContext, target: Path, reporter: Progress | None = None
) -> engine_build.BuildReport:
    with run.start(engine) as identity:
        return engine_build.build(context, target, engine, identity, progress=reporter or progress.Silent())


def create_context_with(source: str) -> render.BuildContext:
    """Return a Dockerfile that builds its pickle with this Python source."""
    return render.BuildContext(dockerfile=DOCKERFILE.format(image="runner:1", source=f'"{source}"'), files=())


def test_a_pickle_is_copied_out_unchanged(engine: FakeEngine, tmp_path: Path) -> None:
    reporter = engine_cases.Steps()
    report = build_with(engine, create_context(tmp_path), tmp_path / "model.pkl", reporter)
    content = (tmp_path / "model.pkl").read_bytes()
    assert report.warnings == ()
    assert report.pickle == manifest.PickleRecord(
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        protocol=5,
        parameters=("live_features", "live_benchmark_models"),
    )
    assert next(pickletools.genops(content))[1] == 5
    assert reporter.texts[-1] == "copying the pickle out"
    assert engine.list_leftovers() == []
    assert build_with(engine, create_context(tmp_path), tmp_path / "again.pkl") == report
    assert (tmp_path / "again.pkl").read_bytes() == content


def test_a_build_without_a_report_is_refused(engine: FakeEngine, tmp_path: Path) -> None:
    with pytest.raises(
        errors.BuildError, match=r"without a report of the pickle.*run it again\. The last lines of its log"
    ):
        build_with(engine, create_context_with(WRITE_PICKLE + "print('good')"), tmp_path / "model.pkl")
    assert not (tmp_path / "model.pkl").exists()
    assert engine.list_leftovers() == []


def test_the_report_is_found_after_other_output_on_its_line(engine: FakeEngine, tmp_path: Path) -> None:
    source = WRITE_PICKLE + "print('loading', end='', flush=True); " + PRINT_REPORT
    assert build_with(engine, create_context_with(source), tmp_path / "model.pkl").pickle.size == 1


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        '{"sha256": 1}',
        '{"sha256"}',
        '{"a":' * 1_000 + "1" + "}" * 1_000,
        '{"format": 2, "pickle": {"sha256": "\x1b[2J", "size": 1, "protocol": 5, "parameters": []}, "warnings": []}',
    ],
)
def test_an_invalid_report_is_refused(engine: FakeEngine, tmp_path: Path, line: str) -> None:
    # A custom model's code prints into the same log.
    output = f"numerai-builder: {line}".encode().hex()
    source = WRITE_PICKLE + PRINT_REPORT + f"; print(bytes.fromhex('{output}').decode())"
    with pytest.raises(errors.BuildError, match=r"report is invalid") as raised:
        build_with(engine, create_context_with(source), tmp_path / "model.pkl")
    assert "\x1b" not in str(raised.value)
    assert engine.list_leftovers() == []


def test_a_pickle_that_differs_from_the_report_is_refused(engine: FakeEngine, tmp_path: Path) -> None:
    source = WRITE_PICKLE + PRINT_REPORT.replace("(b'x')", "(b'another')")
    with pytest.raises(
        errors.BuildError, match=r"a pickle with sha256 \w{64}, but the copied file has 2d711642\w{56}: run it again"
    ):
        build_with(engine, create_context_with(source), tmp_path / "model.pkl")
    assert engine.list_leftovers() == []


def test_a_failed_step_shows_its_output(engine: FakeEngine, tmp_path: Path) -> None:
    with pytest.raises(errors.BuildError, match=r"failed at Step 5/9 : RUN (.|\n)*\n    ZeroDivisionError"):
        build_with(engine, create_context_with("1 / 0"), tmp_path / "model.pkl")
    assert engine.list_leftovers() == []


def test_a_full_disk_is_an_os_error(engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        build_with(engine, create_context_with(WRITE_PICKLE + PRINT_REPORT), tmp_path / "model.pkl")
    assert engine.list_leftovers() == []


class _EngineWithoutPickle(FakeEngine):
    """An engine whose built image has no pickle."""

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
        limits: protocol.ContainerLimits | None = None,
    ) -> protocol.BuildOutcome:
        outcome = super().build(
            context, run=run, arguments=arguments, tag=tag, cache=cache, progress=progress, limits=limits
        )
        image = self._images[outcome.image]
        (image.root / "model.pkl").unlink()
        return outcome


def test_an_image_without_a_pickle_is_an_error(tmp_path: Path) -> None:
    engine = _EngineWithoutPickle(tmp_path / "engine")
    engine.add_image("runner:1")
    with pytest.raises(errors.EngineError, match=r"could not copy /model\.pkl out of"):
        build_with(engine, create_context_with(WRITE_PICKLE + PRINT_REPORT), tmp_path / "model.pkl")
    assert engine.list_leftovers() == []


# ---- comparing


def test_the_first_difference_of_two_pickles_is_described(tmp_path: Path) -> None:
    recorded, rebuilt = tmp_path / "recorded", tmp_path / "rebuilt"
    recorded.write_bytes(pickle.dumps(["same", "left"], protocol=5))
    rebuilt.write_bytes(pickle.dumps(["same", "right"], protocol=5))
    assert verify._find_first_difference(recorded, rebuilt) == (
        "at byte 21: SHORT_BINUNICODE 'left' here, SHORT_BINUNICODE 'right' in the rebuilt one"
    )
    rebuilt.write_bytes(recorded.read_bytes() + b"more")
    assert verify._find_first_difference(recorded, rebuilt) == "that one ends before the other"
