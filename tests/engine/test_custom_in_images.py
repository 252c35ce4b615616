"""Build a custom model twice in real images; check that the bytes are equal and what the pickle returns."""

from __future__ import annotations

import hashlib
import json
import pickle
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sklearn
from sklearn import linear_model

from builder import errors, progress
from builder.build import engine_build
from builder.engine import protocol, tar_stream
from builder.image import stand_in
from tests.support import custom, in_container, pickles, stand_ins

if TYPE_CHECKING:
    from pathlib import Path

    from builder.engine import docker_engine

CALL = """
import json
import pandas as pd
predict = pd.read_pickle("model.pkl")
rows = pd.DataFrame({"era": "X", "feature_0": [0, 4], "feature_1": [1, 3], "feature_2": [2, 2]}, index=["a", "b"])
print(json.dumps(predict(rows)["prediction"].tolist()))
"""


@pytest.mark.parametrize("python", ["3.12", "oldest", "newest"])
def test_a_custom_model_is_reproducible_and_runs(
    engine: docker_engine.DockerEngine, run_id: str, tmp_path: Path, python: str
) -> None:
    image = stand_in.find_or_build(engine, python, progress.Silent(), fallback=True)
    bundle, hashes = custom.make_full_bundle(), []
    for folder in ("one", "two"):
        rendered = pickles.render_bundle(tmp_path / folder, bundle, base=image.tag)
        report = engine_build.build(
            rendered, tmp_path / folder / "model.pkl", engine, run_id, progress=progress.Silent()
        )
        assert (report.pickle.findings, report.warnings) == ((), ())
        hashes.append(hashlib.sha256((tmp_path / folder / "model.pkl").read_bytes()).hexdigest())
    assert hashes[0] == hashes[1]
    files = {"model.pkl": (tmp_path / "one" / "model.pkl").read_bytes()}
    command = (*in_container.STRICT, "-c", CALL)
    predictions = json.loads(in_container.run(engine, image.image.id, run_id, files, *command).strip().splitlines()[-1])
    expected = 0.5 / (1 + np.exp(-2 * (np.array([[0, 1, 2], [4, 3, 2]]) @ custom.WEIGHTS)))
    np.testing.assert_allclose(predictions, expected, atol=1e-12)


WARNS = """
import pickle
import lightgbm
import numpy as np

def load(bundle):
    estimator = pickle.loads(bundle.read("estimator.pkl"))
    one = float(np.ones(1))
    lightgbm.train({"num_threads": 1}, lightgbm.Dataset(np.ones((20, 1)), np.arange(20)), 1)
    return lambda live_features: live_features[["feature_0"]] * one + estimator.intercept_
"""


def test_what_libraries_warn_of_is_reported(engine: docker_engine.DockerEngine, run_id: str, tmp_path: Path) -> None:
    content = pickle.dumps(linear_model.LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]))
    old = sklearn.__version__.encode().replace(b"1", b"0")  # as long, because its length is in the pickle
    bundle = custom.make_bundle(WARNS, files={"estimator.pkl": content.replace(sklearn.__version__.encode(), old)})
    rendered = pickles.render_bundle(tmp_path, bundle, base=stand_ins.get_default().tag)
    report = engine_build.build(rendered, tmp_path / "model.pkl", engine, run_id, progress=progress.Silent())
    text = "\n".join(report.warnings)
    assert "sklearn/base.py:" in text
    assert (
        f": InconsistentVersionWarning: Trying to unpickle estimator LinearRegression from version {old.decode()} "
        in text
    )
    assert "code/model.py:8: DeprecationWarning: Conversion of an array with ndim > 0 to a scalar is deprecated" in text
    assert "[LightGBM] [Warning] " in text
    assert all(line.isprintable() for line in report.warnings)


GREEDY = """
import pandas as pd

def load(bundle):
    bytearray(2 << 30)
    return lambda live: live[["feature_0"]]
"""


def test_a_build_is_stopped_at_its_memory_limit(
    engine: docker_engine.DockerEngine, run_id: str, tmp_path: Path
) -> None:
    base = stand_in.find_or_build(engine, "3.11", progress.Silent()).tag
    rendered = pickles.render_bundle(tmp_path, custom.make_bundle(GREEDY), base=base)
    limits = protocol.ContainerLimits(cpus=0.5, memory=512 << 20)
    with pytest.raises(errors.BuildError, match="building the pickle ran out of memory"):
        engine_build.build(rendered, tmp_path / "model.pkl", engine, run_id, progress=progress.Silent(), limits=limits)


QUOTA = """
FROM {image}
ARG RUN_ID
LABEL numerai-builder.run=$RUN_ID
RUN ["python", "-c", "import pathlib; print('cpu', *[p.read_text().strip() for p in \
[pathlib.Path('/sys/fs/cgroup/cpu/cpu.cfs_quota_us'), pathlib.Path('/sys/fs/cgroup/cpu.max')] if p.exists()])"]
"""


def test_the_cpu_limit_reaches_each_step_of_that_build_only(engine: docker_engine.DockerEngine, run_id: str) -> None:
    image = stand_in.find_or_build(engine, "3.11", progress.Silent()).tag
    logs = []
    for limits in (protocol.ContainerLimits(cpus=0.5, memory=512 << 20), None):
        entry = tar_stream.TarEntry(name="Dockerfile", content=QUOTA.format(image=image).encode())
        outcome = engine.build(
            tar_stream.pack([entry]),
            run=run_id,
            arguments={},
            tag=None,
            cache=False,
            progress=progress.Silent(),
            limits=limits,
        )
        logs.append(next(line for line in outcome.log.splitlines() if line.startswith("cpu")))
    assert "50000" in logs[0]
    assert "50000" not in logs[1]
