"""Small bundles to test with, and ways to damage them."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy

from builder.bundle import activations, model, post
from builder.bundle.storage import files, tensors, write
from tests.support import formulas

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray


def make_network(
    inputs: int,
    *,
    widths: Sequence[int] = (4,),
    names: Sequence[str] = ("relu",),
    dtype: str = "float32",
    seed: int = 1,
) -> model.Network:
    """Return a network with hidden layers of these widths and activations, and an identity on top."""
    random = np.random.default_rng(seed)
    sizes = [inputs, *widths, 1]
    layers = tuple(
        model.make_node(
            "dense",
            weights=random.normal(size=(sizes[index], sizes[index + 1])).astype(dtype),
            bias=random.normal(size=sizes[index + 1]).astype(dtype),
            activation=activations.Activation(name=name),
        )
        for index, name in enumerate([*names, "identity"])
    )
    return model.Network(
        layers=layers,
        imputation=np.full(inputs, 2, dtype=dtype),
        centre=random.uniform(1, 3, size=inputs).astype(dtype),
        scale=random.uniform(0.5, 2, size=inputs).astype(dtype),
    )


def make_bundle(
    features: int = 3, benchmarks: Sequence[str] = (), *, network: model.Model | None = None
) -> model.Bundle:
    """Return a whole bundle, whose golden predictions are the reference's."""
    count = features + len(benchmarks)
    network = network or make_network(count)
    inputs = np.random.default_rng(5).integers(0, 5, size=(6, count)).astype(np.float64)
    inputs[1, 0] = np.nan
    return model.Bundle(
        features=tuple(f"feature_{index}" for index in range(features)),
        benchmarks=tuple(benchmarks),
        model=network,
        golden=model.GoldenRows(inputs=inputs, predictions=formulas.predict(network, inputs)),
        post=(post.make_step("rank"),),
        trained={"framework": "numpy", "version": "2", "seed": 1, "score": 0.5, "early": False, "eras": ("1", "2")},
    )


def write_bundle(folder: Path, bundle: model.Bundle | None = None) -> Path:
    """Write a bundle (by default a small one) and return its folder."""
    write.write(folder, bundle or make_bundle())
    return folder


def edit_json(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change ``bundle.json`` in place."""
    path = folder / "bundle.json"
    data = json.loads(path.read_bytes())
    change(data)
    path.write_text(json.dumps(data))


def members(path: Path) -> dict[str, bytes]:
    """Return the members of a zip."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, contents: Mapping[str, bytes], *, compression: int = zipfile.ZIP_STORED) -> None:
    """Write a zip, with correct checksums."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, raw in contents.items():
            archive.writestr(name, raw)


def replace_array(path: Path, name: str, array: NDArray[Any]) -> None:
    """Put another array in place of one, or beside the others; the checksum is right."""
    tensors.write(path, {**safetensors.numpy.load_file(path), name: array})
    seal(path)


def npy(array: Any) -> bytes:
    """Return an array as a member of an ``.npz``, in which format 1 has its arrays."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def downgrade(folder: Path) -> Path:
    """Convert a bundle of format 2 to format 1, in place."""
    for name in ("arrays", "golden"):
        path = folder / f"{name}.safetensors"
        arrays = safetensors.numpy.load_file(path)
        pack(folder / f"{name}.npz", {f"{key}.npy": npy(array) for key, array in arrays.items()})
        path.unlink()
    edit_json(folder, lambda data: data.update(format=1) or data.pop("checksums"))
    return folder


def seal(path: Path) -> None:
    """Write the checksum of a file of arrays into ``bundle.json``."""
    digest, _ = files.hash_content(path)
    edit_json(path.parent, lambda data: data["checksums"].update({path.stem: digest}))


def arrays_of(bundle: model.Bundle) -> dict[str, NDArray[Any]]:
    """Return every array of a bundle by a name of its own, for comparing two."""
    actual: dict[str, NDArray[Any]] = {
        "imputation": bundle.model.imputation,
        "centre": bundle.model.centre,
        "scale": bundle.model.scale,
        "inputs": bundle.golden.inputs,
        "predictions": bundle.golden.predictions,
    }
    for index, layer in enumerate(bundle.model.layers):
        actual |= {f"w{index}": layer["weights"], f"b{index}": layer["bias"]}
    return actual


def assert_same(first: model.Bundle, second: model.Bundle) -> None:
    """Compare two bundles in all they hold."""
    assert (first.features, first.benchmarks, first.post) == (second.features, second.benchmarks, second.post)
    assert dict(first.trained) == dict(second.trained)
    assert [layer.activation for layer in first.model.layers] == [layer.activation for layer in second.model.layers]
    ours, theirs = arrays_of(first), arrays_of(second)
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        assert array.dtype == theirs[name].dtype
        np.testing.assert_array_equal(array, theirs[name])
