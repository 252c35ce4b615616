"""The look-alike on a real engine: made, found again, run, and cut short; and a real registry's digest."""

from __future__ import annotations

import io
import json
import pickle
import re
import tarfile
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from builder import errors, paths, progress
from builder.engine import docker_engine, tar_stream
from builder.engine import protocol as engines
from builder.image import stand_in
from builder.sandbox import registry as sandbox_registry
from tests.support import registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PYTHONS = ("3.11", "3.13")  # what can be made where no image can be pulled
LIMITS = engines.ContainerLimits(cpus=1, memory=1 << 30)
NAMES = ("numpy", "pandas", "scipy", "pyarrow", "cloudpickle", "numerapi", "scikit-learn", "lightgbm", "threadpoolctl")

pythons = pytest.mark.parametrize("python", PYTHONS)


class Steps(progress.Silent):
    """Keeps the steps."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def step(self, text: str, /) -> None:
        self.said.append(text)


class Interrupted(progress.Silent):
    """A person who presses Ctrl-C when a step begins."""

    def __init__(self, text: str) -> None:
        self._text = text

    def step(self, text: str, /) -> None:
        if self._text in text:
            raise KeyboardInterrupt


def run(
    on: engines.Engine, image: str, *command: str, files: Mapping[str, bytes] | None = None
) -> tuple[int | None, str, bytes]:
    """Run a command in an image; returns its exit code, its log and a tar of what is on its volume."""
    with on.create_container(image, command, run="test-of-stand-in", limits=LIMITS, network=False) as container:
        container.put(
            tar_stream.pack(tar_stream.TarEntry(name=name, content=data) for name, data in (files or {}).items())
        )
        ended = container.run(120)
        return ended.code, container.read_log(), b"".join(container.get(engines.WORKDIR))


@pythons
def test_it_has_the_published_versions_on_its_own_python(engine: docker_engine.DockerEngine, python: str) -> None:
    made = stand_in.find_or_build(engine, python, progress.Silent())
    (pins,) = (paths.docker_folder() / "stand_in").glob(f"pins/py{python}.*.txt")
    published = dict(line.split("==") for line in pins.read_text().split())
    source = (
        "import json, sys, importlib.metadata as m, numpy, pandas, lightgbm, sklearn, pyarrow.parquet, scipy.stats;"
        f"print(json.dumps([sys.version_info[:2], {{name: m.version(name) for name in {NAMES!r}}}]))"
    )
    code, log, _ = run(engine, made.image.id, "python", "-c", source)
    assert code == 0, log
    version, versions = json.loads(log)
    assert ".".join(map(str, version)) == python
    assert versions == {name: published[name] for name in NAMES}


@pythons
def test_it_says_what_it_is(engine: docker_engine.DockerEngine, python: str) -> None:
    made = stand_in.find_or_build(engine, python, progress.Silent())
    assert made.image.entrypoint == ("python", "predict.py")
    assert (made.image.workdir, made.image.platform) == ("/", "linux/amd64")
    assert made.image.labels[stand_in.STAND_IN_LABEL] == python
    assert made.image.labels[stand_in.SPEC_LABEL] == made.spec
    assert engines.RUN_LABEL not in made.image.labels
    assert re.fullmatch(rf"numerai-builder/stand-in:{re.escape(python)}-{made.spec[:16]}", made.tag)
    assert made.tag in made.image.tags
    assert made.image.digests == ()


@pythons
def test_the_second_time_it_is_found_not_built(engine: docker_engine.DockerEngine, python: str) -> None:
    first = stand_in.find_or_build(engine, python, progress.Silent())
    steps = Steps()
    assert stand_in.find_or_build(engine, python, steps) == first
    assert steps.said == []
    assert stand_in.find(engine, python) == first


@pythons
def test_its_entry_point_predicts(engine: docker_engine.DockerEngine, python: str) -> None:
    """The model is a method of pandas, pickled by its name: one parameter, the same in every version."""
    live = pd.DataFrame({"feature_a": [0.25, 0.75]}, index=pd.Index(["n1", "n2"], name="id"))
    parquet = io.BytesIO()
    live.to_parquet(parquet)
    made = stand_in.find_or_build(engine, python, progress.Silent())
    command = [*made.image.entrypoint[:-1], "/predict.py", "--debug", "--model", f"{engines.WORKDIR}/model.pkl"]
    command += ["--dataset", f"{engines.WORKDIR}/live.parquet", "--output_dir", engines.WORKDIR]
    files = {"model.pkl": pickle.dumps(pd.DataFrame.abs), "live.parquet": parquet.getvalue()}
    code, log, volume = run(engine, made.image.id, *command, files=files)
    # It ends normally, and a thread of pyarrow may abort it then.
    assert code in {0, 134}, log
    assert log.startswith(f"INFO:root:Running numerai-predict: - Python {python}\n")
    with tarfile.open(fileobj=io.BytesIO(volume)) as archive:
        (name,) = (name for name in archive.getnames() if "live_predictions-" in name)
        written = archive.extractfile(name)
        assert written is not None
        assert written.read() == b"id,feature_a\nn1,0.25\nn2,0.75\n"


def test_a_build_that_is_cut_short_leaves_nothing(
    engine: docker_engine.DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Late, so that the base, the first stage and a part of the last one are there when it happens.

    The base is what is in the look-alike: to make one, and to install all packages in it, takes two minutes.
    """
    kept = stand_in.find_or_build(engine, "3.11", progress.Silent())

    def files(_suite: str, _progress: object) -> Iterator[bytes]:
        with sandbox_registry.connect_engine() as api:
            container = api.create_container(kept.image.id, "true")["Id"]
            try:
                yield from api.export(container)
            finally:
                api.remove_container(container)

    monkeypatch.setattr(stand_in, "_root_file_system", files)
    with pytest.raises(KeyboardInterrupt):
        stand_in._build(engine, "3.11", Interrupted("COPY --from=install"))
    assert engine.find_image("numerai-builder/stand-in-base:3.11") is None
    for key, value in (
        (stand_in.BASE_LABEL, "3.11"),
        (stand_in.INPUTS_LABEL, kept.image.labels[stand_in.INPUTS_LABEL]),
    ):
        for image in engine.find_images_by_label(key, value):
            # What other runs are building on it right now carries their label.
            assert image.tags or engines.RUN_LABEL in image.labels
    assert stand_in.find(engine, "3.11") == kept


def test_a_pushed_image_has_a_digest_of_its_registry(engine: docker_engine.DockerEngine) -> None:
    with registry.start() as address, registry.start() as other:
        assert address != other
        small = tar_stream.pack([tar_stream.TarEntry(name="hello", content=b"hello")])
        tag = f"{address}/test/small:1"
        made = engine.import_image(small, tag=tag, changes=["LABEL a=b"])
        try:
            assert made.digests == ()
            pushed = registry.push(made.id, tag)
            assert pushed.startswith(f"{address}/test/small@sha256:")
            found = engine.find_image(pushed)
            assert found is not None
            assert found.digests == (pushed,)
            engine.remove_image(made.id)
            assert engine.find_image(pushed) is None
            pulled = engine.pull(pushed, platform=engines.PLATFORM, seconds=30, progress=progress.Silent())
            assert pulled.digests == (pushed,)
            assert pulled.labels == {"a": "b"}
        finally:
            engine.remove_image(made.id)


def test_a_base_that_cannot_be_pulled_is_an_error_with_the_choices(engine: docker_engine.DockerEngine) -> None:
    """Nothing serves this one anywhere, so it fails on every machine."""
    with pytest.raises(errors.ImageError, match=r"3\.11 or 3\.13") as caught:
        stand_in._pull(engine, "3.12", "127.0.0.1:1/python:3.12-slim", progress.Silent())
    assert "127.0.0.1:1/python:3.12-slim is not on the engine" in str(caught.value)
    assert "by hand" in str(caught.value)
