"""Serialize a bundle as a pickle: fold its numbers, load the predict source, dump the function with cloudpickle."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

import cloudpickle

from . import custom, fold, source, tensors

if TYPE_CHECKING:
    from pathlib import Path

PROTOCOL = 5


def serialize_bundle(folder: Path, predict_folder: Path) -> tuple[bytes, list[str]]:
    """Return the pickle of ``plan.json`` and ``bundle/`` in ``folder``, and the names of its parameters."""
    plan = json.loads((folder / "plan.json").read_bytes())
    header = json.loads((folder / "bundle" / "bundle.json").read_bytes())
    arrays = tensors.read(folder / "bundle" / "arrays.safetensors")
    return serialize_model(fold.fold(header, arrays, plan["post"], folder / "bundle"), predict_folder)


def serialize_model(model: dict[str, Any], predict_folder: Path) -> tuple[bytes, list[str]]:
    """Return the pickle of a folded model, and the names of its parameters.

    The bytes are the same in every fresh process. They are not when a process serializes a second model, or one that
    was loaded from a pickle: pickle refers back to objects that it has seen, and which objects are shared differs.
    A custom function without post-processing is pickled as it is.
    """
    if model["kind"] == "custom" and not model["post"]:
        return cloudpickle.dumps(model["function"], protocol=PROTOCOL), custom.read_parameters(model["function"])
    kinds = [model["kind"], *(member["kind"] for member in model.get("members", ()))]
    files = [*(fold.KINDS[kind].predict for kind in kinds), *(f"{name}.py" for name, _ in model["post"])]
    module = source.load_module(source.resolve_files(files, predict_folder), predict_folder)
    module.__dict__["MODEL"] = model
    # By value, because this tool's modules do not exist where the pickle runs.
    cloudpickle.register_pickle_by_value(module)
    return cloudpickle.dumps(module.predict, protocol=PROTOCOL), list(inspect.signature(module.predict).parameters)
