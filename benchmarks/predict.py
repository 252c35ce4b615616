"""Benchmarks of ``predict`` in a container with one CPU, against only its matrix products and onnxruntime."""

from __future__ import annotations

import hashlib
import shutil
import statistics
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import in_container, project, table
from builder import paths
from builder.validate import data

if TYPE_CHECKING:
    from builder.bundle import model

_WORKDIR = in_container.WORKDIR
_RUNS = 15
_ROWS = (7_000, 70_000)
_MEGABYTE = 1e6


def measure_rows() -> list[table.Row]:
    """Measure speed and memory in one container."""
    with project.create_project() as root:
        project.build_pickle(root, project.BIG)
        bundle = project.create_big_bundle()
        measured = _measure(root / "dist" / project.BIG / "model.pkl", bundle)
    ours, bare = measured["predict"], measured["bare"]
    rows = [
        _create_row("predict, 7,000 x 3,555", "only the float32 products", ours, bare, 1.15),
        _create_row("predict, 7,000 x 3,555", "only onnxruntime's session", ours, measured["session"], 1.0),
        _create_row("predict, 7,000 x 3,555", "onnxruntime, frame to frame", ours, measured["frames"], 1.0),
    ]
    for count in _ROWS:
        megabytes = measured["memory"][str(count)] / _MEGABYTE
        rows.append(
            table.Row(
                name=f"predict, {count:,} rows, memory",
                against="(without frames and model)",
                value=megabytes,
                unit="MB",
                target=32,
                detail="peak of the process",
            )
        )
    return rows


def _create_row(name: str, against: str, ours: list[float], baseline: list[float], target: float) -> table.Row:
    return table.Row(
        name=name,
        against=against,
        value=statistics.median(a / b for a, b in zip(ours, baseline, strict=True)),
        unit="x",
        target=target,
        detail=f"{statistics.median(ours):.3f} s, {statistics.median(baseline):.3f} s",
    )


def _measure(pickle: Path, bundle: model.Bundle) -> dict[str, Any]:
    """Run ``in_image.py``; return its result."""
    cache = paths.cache_folder() / "shaped"
    frames = {
        rows: data.make_shaped_data(features=bundle.features, benchmarks=(), rows=rows, cache=cache) for rows in _ROWS
    }
    files: dict[str, bytes | Path] = {
        "model.pkl": pickle,
        "model.onnx": _create_onnx(bundle),
        "benchmarks.parquet": frames[_ROWS[0]].benchmarks or frames[_ROWS[0]].live,
        **{f"{rows}.parquet": shaped.live for rows, shaped in frames.items()},
        **_download_onnxruntime(),
    }
    plan = {
        "site": f"{_WORKDIR}/site",
        "model": f"{_WORKDIR}/model.pkl",
        "onnx": f"{_WORKDIR}/model.onnx",
        "benchmarks": f"{_WORKDIR}/benchmarks.parquet",
        "frames": {str(rows): f"{_WORKDIR}/{rows}.parquet" for rows in _ROWS},
        "runs": _RUNS,
    }
    result: dict[str, Any] = in_container.measure("in_image.py", plan, files)
    return result


def _create_onnx(bundle: model.Bundle) -> bytes:
    """Return the network as ONNX, with the scaling folded into the first layer as in the pickle."""
    import numpy as np  # noqa: PLC0415 - with onnx
    import onnx  # noqa: PLC0415 - a second

    network: Any = bundle.model
    nodes, constants, name = [], [], "x"
    for index, layer in enumerate(network.layers):
        weights, bias = layer["weights"].astype(np.float64), layer["bias"].astype(np.float64)
        if index == 0:
            weights = weights / network.scale[:, None]
            bias = bias - network.centre @ weights
        constants += [
            onnx.numpy_helper.from_array(weights.astype(np.float32), f"w{index}"),
            onnx.numpy_helper.from_array(bias.astype(np.float32), f"b{index}"),
        ]
        nodes.append(onnx.helper.make_node("Gemm", [name, f"w{index}", f"b{index}"], [f"h{index}"]))
        name = f"h{index}"
        if layer.activation.name == "relu":
            nodes.append(onnx.helper.make_node("Relu", [name], [f"a{index}"]))
            name = f"a{index}"
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes,
        "network",
        [onnx.helper.make_tensor_value_info("x", kind, [None, len(bundle.features)])],
        [onnx.helper.make_tensor_value_info(name, kind, [None, 1])],
        constants,
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    content: bytes = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
    return content


def _download_onnxruntime() -> dict[str, bytes | Path]:
    """Return the files of onnxruntime for the image's Python, downloaded once with checked hashes."""
    requirements = project.ROOT / "requirements" / "bench-image.txt"
    folder = paths.cache_folder() / f"bench-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]}"
    if not folder.is_dir():
        partial = folder.with_suffix(".part")
        shutil.rmtree(partial, ignore_errors=True)
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--only-binary=:all:",
            "--require-hashes",
            "--no-deps",
        ]
        command += ["--python-version=3.12", "--implementation=cp", "--platform=manylinux2014_x86_64"]
        command += ["--platform=manylinux_2_27_x86_64", "--platform=manylinux_2_28_x86_64"]
        subprocess.run([*command, "-d", str(partial / "wheels"), "-r", str(requirements)], check=True)
        for wheel in sorted((partial / "wheels").iterdir()):
            # Not numpy: the pickle needs the image's own version.
            if not wheel.name.startswith("numpy-"):
                with zipfile.ZipFile(wheel) as archive:
                    archive.extractall(partial / "site")
        shutil.rmtree(partial / "wheels")
        partial.rename(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in files}
