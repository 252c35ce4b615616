"""Build, find and run stand-in images on a real engine, interrupt a build, and push to a real registry."""

from __future__ import annotations

import io
import json
import pickle
import re
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from builder import errors, paths, progress
from builder.engine import docker_engine, protocol, tar_stream
from builder.image import stand_in
from builder.sandbox import registry as sandbox_registry
from builder.validate import container_run
from tests.support import registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PYTHONS = ("3.11", "3.13")  # the versions that can be built without pulling an image
LIMITS = protocol.ContainerLimits(cpus=1, memory=1 << 30)
NAMES = ("numpy", "pandas", "scipy", "pyarrow", "cloudpickle", "numerapi", "scikit-learn", "lightgbm", "threadpoolctl")

pythons = pytest.mark.parametrize("python", PYTHONS)


class Steps(progress.Silent):
    """Records the steps."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def step(self, text: str, /) -> None:
        self.texts.append(text)


class Interrupted(progress.Silent):
    """Raises KeyboardInterrupt when a step begins, like Ctrl-C."""

    def __init__(self, text: str) -> None:
        self._text = text

    def step(self, text: str, /) -> None:
        if self._text in text:
            raise KeyboardInterrupt


def run(
    engine: protocol.Engine, image: str, *command: str, files: Mapping[str, bytes] | None = None
) -> tuple[int | None, str, bytes]:
    """Run a command in an image; return its exit code and its two streams."""
    identity = "test-of-stand-in"
    tar = tar_stream.pack(tar_stream.TarEntry(name=name, content=data) for name, data in (files or {}).items())
    with (
        engine.create_volume(image, tar, run=identity) as volume,
        engine.create_container(image, command, run=identity, limits=LIMITS, network=False, volume=volume) as container,
    ):
        return container.run(120).code, container.read_log(output=False), container.read_output(1 << 20)


@pythons
def test_a_stand_in_has_the_published_versions(engine: docker_engine.DockerEngine, python: str) -> None:
    built = stand_in.find_or_build(engine, python, progress.Silent())
    (pins,) = (paths.docker_folder() / "stand_in").glob(f"pins/py{python}.*.txt")
    published = dict(line.split("==") for line in pins.read_text().split())
    source = (
        "import json, sys, importlib.metadata as m, numpy, pandas, lightgbm, sklearn, pyarrow.parquet, scipy.stats;"
        f"print(json.dumps([sys.version_info[:2], {{name: m.version(name) for name in {NAMES!r}}}]))"
    )
    code, log, output = run(engine, built.image.id, "python", "-c", source)
    assert code == 0, log
    version, versions = json.loads(output)
    assert ".".join(map(str, version)) == python
    assert versions == {name: published[name] for name in NAMES}


@pythons
def test_a_stand_in_has_its_labels_and_tag(engine: docker_engine.DockerEngine, python: str) -> None:
    built = stand_in.find_or_build(engine, python, progress.Silent())
    assert built.image.entrypoint == ("python", "predict.py")
    assert (built.image.workdir, built.image.platform) == ("/", "linux/amd64")
    assert built.image.labels[stand_in.STAND_IN_LABEL] == python
    assert built.image.labels[stand_in.SPEC_LABEL] == built.spec
    assert protocol.RUN_LABEL not in built.image.labels
    assert re.fullmatch(rf"numerai-builder/stand-in:{re.escape(python)}-{built.spec[:16]}", built.tag)
    assert built.tag in built.image.tags
    assert built.image.digests == ()


@pythons
def test_an_existing_stand_in_is_not_built_again(engine: docker_engine.DockerEngine, python: str) -> None:
    first = stand_in.find_or_build(engine, python, progress.Silent())
    steps = Steps()
    assert stand_in.find_or_build(engine, python, steps) == first
    assert steps.texts == []
    assert stand_in.find(engine, python) == first


@pythons
def test_the_entry_point_predicts(engine: docker_engine.DockerEngine, python: str) -> None:
    """The model is a pandas method, pickled by name: it has one parameter and works in every version."""
    live = pd.DataFrame({"feature_a": [0.25, 0.75]}, index=pd.Index(["n1", "n2"], name="id"))
    parquet = io.BytesIO()
    live.to_parquet(parquet)
    built = stand_in.find_or_build(engine, python, progress.Silent())
    command = ["python", f"{protocol.WORKDIR}/supervise.py", "/", protocol.RESULTS, *built.image.entrypoint]
    command += ["--debug", "--model", f"{protocol.WORKDIR}/model.pkl"]
    command += ["--dataset", f"{protocol.WORKDIR}/live.parquet", "--output_dir", protocol.RESULTS]
    files = {
        "model.pkl": pickle.dumps(pd.DataFrame.abs),
        "live.parquet": parquet.getvalue(),
        "supervise.py": (paths.inside_folder() / "supervise.py").read_bytes(),
    }
    code, log, output = run(engine, built.image.id, *command, files=files)
    # 134: a thread of pyarrow may abort the process when it ends.
    assert code in {0, 134}, log
    assert log.startswith(f"INFO:root:Running numerai-predict: - Python {python}\n")
    result = container_run.read_output(output, log, protocol.Exit(code=code, out_of_memory=False))
    assert result.csv == b"id,feature_a\nn1,0.25\nn2,0.75\n"


def test_an_interrupted_build_leaves_nothing(
    engine: docker_engine.DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted late, when the base, the first stage and a part of the last one exist.

    The stand-in image itself is used as the base: building one and installing all packages would take two minutes.
    """
    existing = stand_in.find_or_build(engine, "3.11", progress.Silent())

    def files(_suite: str, _progress: object) -> Iterator[bytes]:
        with sandbox_registry.connect_engine() as api:
            container = api.create_container(existing.image.id, "true")["Id"]
            try:
                yield from api.export(container)
            finally:
                api.remove_container(container)

    monkeypatch.setattr(stand_in, "_create_root_file_system", files)
    with pytest.raises(KeyboardInterrupt):
        stand_in._build(engine, "3.11", Interrupted("COPY --from=install"))
    assert engine.find_image("numerai-builder/stand-in-base:3.11") is None
    for key, value in (
        (stand_in.BASE_LABEL, "3.11"),
        (stand_in.INPUTS_LABEL, existing.image.labels[stand_in.INPUTS_LABEL]),
    ):
        for image in engine.find_images_by_label(key, value):
            # Images that other runs are building from it have the label of their run.
            assert image.tags or protocol.RUN_LABEL in image.labels
    assert stand_in.find(engine, "3.11") == existing


def test_a_pushed_image_has_a_digest_of_its_registry(engine: docker_engine.DockerEngine) -> None:
    with registry.start() as address, registry.start() as other:
        assert address != other
        small = tar_stream.pack([tar_stream.TarEntry(name="hello", content=b"hello")])
        tag = f"{address}/test/small:1"
        imported = engine.import_image(small, tag=tag, changes=["LABEL a=b"])
        try:
            assert imported.digests == ()
            pushed = registry.push(imported.id, tag)
            assert pushed.startswith(f"{address}/test/small@sha256:")
            image = engine.find_image(pushed)
            assert image is not None
            assert image.digests == (pushed,)
            engine.remove_image(imported.id)
            assert engine.find_image(pushed) is None
            pulled = engine.pull(pushed, platform=protocol.PLATFORM, seconds=30, progress=progress.Silent())
            assert pulled.digests == (pushed,)
            assert pulled.labels == {"a": "b"}
        finally:
            engine.remove_image(imported.id)


def test_a_base_that_cannot_be_pulled_is_an_error_with_alternatives(engine: docker_engine.DockerEngine) -> None:
    """No registry listens at this address, so it fails on every machine."""
    with pytest.raises(errors.ImageError, match=r"3\.11 or 3\.13") as caught:
        stand_in._pull(engine, "3.12", "127.0.0.1:1/python:3.12-slim", progress.Silent())
    assert "127.0.0.1:1/python:3.12-slim is not on the engine" in str(caught.value)
    assert "by hand" in str(caught.value)
