"""Build, find and run stand-in images on a real engine, interrupt a build, and push to a real registry."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from builder import paths, progress
from builder.engine import docker_engine, protocol, tar_stream
from builder.image import resolve as resolve_image
from builder.image import stand_in
from builder.registry import connections
from builder.sandbox import registry as sandbox_registry
from builder.validate import container_run
from tests.support import registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PYTHONS = ("3.12", "3.13")  # the tournament's default, and one of Debian's own
LIMITS = protocol.ContainerLimits(cpus=1, memory=1 << 30)
NAMES = ("numpy", "pandas", "scipy", "pyarrow", "cloudpickle", "numerapi", "scikit-learn", "lightgbm", "threadpoolctl")


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


@pytest.fixture
def default(engine: docker_engine.DockerEngine) -> stand_in.StandIn:
    """The stand-in image of the tournament's default Python."""
    return stand_in.find_or_build(engine, "3.12", progress.Silent(), fallback=True)


@pytest.mark.parametrize("python", PYTHONS)
def test_a_stand_in_has_the_published_versions(engine: docker_engine.DockerEngine, python: str) -> None:
    built = stand_in.find_or_build(engine, python, progress.Silent(), fallback=True)
    (pins,) = (paths.docker_folder() / "stand_in").glob(f"pins/py{built.python}.*.txt")
    published = dict(line.split("==") for line in pins.read_text().split())
    source = (
        "import json, sys, importlib.metadata as m, numpy, pandas, lightgbm, sklearn, pyarrow.parquet, scipy.stats;"
        f"print(json.dumps([sys.version_info[:2], {{name: m.version(name) for name in {NAMES!r}}}]))"
    )
    code, log, output = run(engine, built.image.id, "python", "-c", source)
    assert code == 0, log
    version, versions = json.loads(output)
    assert ".".join(map(str, version)) == built.python
    assert versions == {name: published[name] for name in NAMES}


def test_a_stand_in_has_its_labels_and_tag(default: stand_in.StandIn) -> None:
    assert default.image.entrypoint == ("python", "predict.py")
    assert (default.image.workdir, default.image.platform) == ("/", "linux/amd64")
    assert default.image.labels[stand_in.STAND_IN_LABEL] == default.python
    assert default.image.labels[stand_in.SPEC_LABEL] == default.spec
    assert protocol.RUN_LABEL not in default.image.labels
    assert default.tag == f"numerai-builder/stand-in:{default.python}-{default.spec[:16]}"
    assert default.tag in default.image.tags
    # With a containerd image store, the digest of an image that was never pushed is its id.
    assert default.image.digests in ((), (f"{stand_in.REPOSITORY}@{default.image.id}",))


def test_an_existing_stand_in_is_not_built_again(engine: docker_engine.DockerEngine, default: stand_in.StandIn) -> None:
    steps = Steps()
    assert stand_in.find_or_build(engine, default.python, steps) == default
    assert steps.texts == []
    assert stand_in.find(engine, default.python) == default


def test_the_entry_point_predicts(engine: docker_engine.DockerEngine, default: stand_in.StandIn) -> None:
    """The model is a pandas method, pickled by name: it has one parameter and works in every version."""
    live = pd.DataFrame({"feature_a": [0.25, 0.75]}, index=pd.Index(["n1", "n2"], name="id"))
    parquet = io.BytesIO()
    live.to_parquet(parquet)
    command = ["python", f"{protocol.WORKDIR}/supervise.py", "/", protocol.RESULTS, *default.image.entrypoint]
    command += ["--debug", "--model", f"{protocol.WORKDIR}/model.pkl"]
    command += ["--dataset", f"{protocol.WORKDIR}/live.parquet", "--output_dir", protocol.RESULTS]
    files = {
        "model.pkl": pickle.dumps(pd.DataFrame.abs),
        "live.parquet": parquet.getvalue(),
        "supervise.py": (paths.inside_folder() / "supervise.py").read_bytes(),
    }
    code, log, output = run(engine, default.image.id, *command, files=files)
    # 134: a thread of pyarrow may abort the process when it ends.
    assert code in {0, 134}, log
    assert log.startswith(f"INFO:root:Running numerai-predict: - Python {default.python}\n")
    result = container_run.read_output(output, log, protocol.Exit(code=code, out_of_memory=False))
    assert result.csv == b"id,feature_a\nn1,0.25\nn2,0.75\n"


def test_an_interrupted_build_leaves_nothing(
    engine: docker_engine.DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted late, when the base and a part of the image exist.

    The stand-in image itself is used as the base: to build one from packages takes 15 seconds.
    """
    existing = stand_in.find_or_build(engine, "3.13", progress.Silent())

    def files(_options: object, _progress: object) -> Iterator[bytes]:
        with sandbox_registry.connect_engine() as api:
            container = api.create_container(existing.image.id, "true")["Id"]
            try:
                yield from api.export(container)
            finally:
                api.remove_container(container)

    monkeypatch.setattr(stand_in, "_create_root_file_system", files)
    with pytest.raises(KeyboardInterrupt):
        stand_in._build(engine, "3.13", Interrupted("RUN python3 -m venv"))
    assert engine.find_image(f"numerai-builder/stand-in-base:3.13-{os.getuid()}") is None
    for key, value in (
        (stand_in.BASE_LABEL, "3.13"),
        (stand_in.INPUTS_LABEL, existing.image.labels[stand_in.INPUTS_LABEL]),
    ):
        for image in engine.find_images_by_label(key, value):
            # Images that other runs are building from it have the label of their run.
            assert image.tags or protocol.RUN_LABEL in image.labels
    assert stand_in.find(engine, "3.13") == existing


def test_an_interrupted_download_leaves_nothing(
    engine: docker_engine.DockerEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Interrupted while pip installs the packages."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def files(_options: object, _progress: object) -> Iterator[bytes]:
        assert list(find_processes(str(tmp_path)))
        yield b""
        raise KeyboardInterrupt

    monkeypatch.setattr(stand_in, "_create_root_file_system", files)
    with pytest.raises(KeyboardInterrupt):
        stand_in._build(engine, "3.13", progress.Silent())
    assert not [path for path in paths.cache_folder().glob("stand-in-*") if path.is_dir()]
    assert not list(find_processes(str(tmp_path)))
    assert engine.find_image(f"numerai-builder/stand-in-base:3.13-{os.getuid()}") is None


def find_processes(argument: str) -> Iterator[str]:
    """Yield the command lines of this machine's processes that contain ``argument``."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            if argument in (line := path.read_text(errors="replace")):
                yield line


def resolve(engine: docker_engine.DockerEngine, tag: str) -> resolve_image.ResolvedImage:
    """Resolve a reference, with the registry."""
    with connections.connect(progress.Silent()) as registries:
        return resolve_image.resolve(
            resolve_image.ImageRequest(ref=tag),
            engine,
            pull=False,
            progress=progress.Silent(),
            look_up=registries.resolve,
        )


def test_a_pushed_image_has_a_digest_of_its_registry(engine: docker_engine.DockerEngine) -> None:
    with registry.start() as address, registry.start() as other:
        assert address != other
        small = tar_stream.pack([tar_stream.TarEntry(name="hello", content=b"hello")])
        tag = f"{address}/test/small:1"
        imported = engine.import_image(small, tag=tag, changes=["LABEL a=b"])
        try:
            assert resolve(engine, tag).kind == "local"
            pushed = registry.push(imported.id, tag)
            assert pushed.startswith(f"{address}/test/small@sha256:")
            assert resolve(engine, tag).base == pushed
            image = engine.find_image(pushed)
            assert image is not None
            assert set(image.digests) == {pushed}
            engine.remove_image(imported.id)
            assert engine.find_image(pushed) is None
            pulled = engine.pull(pushed, platform=protocol.PLATFORM, seconds=30, progress=progress.Silent())
            assert set(pulled.digests) == {pushed}
            assert pulled.labels == {"a": "b"}
        finally:
            engine.remove_image(imported.id)
