"""Build a custom model twice in real images; check that the bytes are equal and what the pickle returns."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from builder import progress
from builder.build import engine_build
from builder.image import stand_in
from tests.support import custom, in_container, pickles

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
        assert report.findings == ()
        hashes.append(hashlib.sha256((tmp_path / folder / "model.pkl").read_bytes()).hexdigest())
    assert hashes[0] == hashes[1]
    files = {"model.pkl": (tmp_path / "one" / "model.pkl").read_bytes()}
    command = (*in_container.STRICT, "-c", CALL)
    predictions = json.loads(in_container.run(engine, image.image.id, run_id, files, *command).strip().splitlines()[-1])
    expected = 0.5 / (1 + np.exp(-2 * (np.array([[0, 1, 2], [4, 3, 2]]) @ custom.WEIGHTS)))
    np.testing.assert_allclose(predictions, expected, atol=1e-12)
