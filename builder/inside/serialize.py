"""The pickle of a bundle as bytes: folded, its source loaded, dumped once; ``make`` and ``repeat`` write it."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

import cloudpickle

from . import custom, fold, source, tensors

if TYPE_CHECKING:
    from pathlib import Path

PROTOCOL = 5


def build(folder: Path, predict_folder: Path) -> tuple[bytes, list[str]]:
    """Return the pickle of the plan and bundle in ``folder``, and the names of its parameters."""
    plan = json.loads((folder / "plan.json").read_bytes())
    header = json.loads((folder / "bundle" / "bundle.json").read_bytes())
    arrays = tensors.read(folder / "bundle" / "arrays.safetensors")
    return dump(fold.fold(header, arrays, plan["post"], folder / "bundle"), predict_folder)


def dump(model: dict[str, Any], predict_folder: Path) -> tuple[bytes, list[str]]:
    """Return the pickle of a folded model, and the names of its parameters.

    The bytes are the same in every fresh process. A second dump in one process, or that of a loaded object, is not.
    A function of the user's own that no step follows is pickled as it is.
    """
    if model["kind"] == "custom" and not model["post"]:
        return cloudpickle.dumps(model["function"], protocol=PROTOCOL), custom.read_parameters(model["function"])
    kinds = [model["kind"], *(member["kind"] for member in model.get("members", ()))]
    files = [*(fold.KINDS[kind].predict for kind in kinds), *(f"{name}.py" for name, _ in model["post"])]
    module = source.load_module(source.resolve_files(files, predict_folder), predict_folder)
    module.__dict__["MODEL"] = model
    cloudpickle.register_pickle_by_value(module)
    return cloudpickle.dumps(module.predict, protocol=PROTOCOL), list(inspect.signature(module.predict).parameters)
