"""Export PyTorch modules, also inside Lightning and skorch, by tracing what they compute."""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from builder import errors
from builder.bundle import model as bundle_model
from builder.export import conversion, frameworks
from builder.export.pytorch import graph as torch_graph
from builder.export.pytorch import missing, operators
from builder.text import format_list

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builder.export.conversion import Array

OPTION_HINT = ""
DEFAULT_RANK: frameworks.Rank = "era"

_CHUNK = 1_024
"""Rows that the framework predicts at once, to limit the memory for hidden layers."""


@dataclass(frozen=True, kw_only=True)
class TorchOptions(frameworks.Options):
    """The options of a PyTorch module.

    Attributes:
        output: Index of the prediction among several values for each row, counted from 0, or ``"mean"`` of all; or its
            key if the module returns a dict.
        centre: Subtracted from the inputs before the module gets them: one number, or one for each input.
        scale: Divisor of the inputs after that; not 0.
    """

    output: int | str | None = None
    centre: float | Sequence[float] = 0.0
    scale: float | Sequence[float] = 1.0


OPTIONS = TorchOptions


def feature_names(_model: Any, _options: TorchOptions) -> tuple[str, ...] | None:
    """Return None: a module does not know the names of its inputs."""
    return None


def convert(model: Any, spec: conversion.InputSpec, options: TorchOptions) -> conversion.ConvertedModel:
    """Trace a module and convert its graph.

    A copy of the module is traced and predicts the golden rows: on the CPU, in evaluation mode, and in float64 if the
    module runs in it. The caller's module is not changed.

    Raises:
        errors.ExportError: A part of the module cannot be expressed or traced, or the prediction is ambiguous.
    """
    module, facts = _unwrap(model)
    inputs = len(spec.imputation)
    centre, scale = _broadcast_option(spec, "centre", options.centre), _broadcast_option(spec, "scale", options.scale)
    _check_forward(module)
    _check_sizes(module)
    filled = (np.where(np.isnan(spec.sample), spec.imputation, spec.sample) - centre) / scale
    module, dtype = _prepare_module(module, filled)
    # np.resize repeats the rows of a smaller sample.
    rows = torch.from_numpy(np.resize(filled, (torch_graph.TRACE_ROWS, inputs))).to(dtype)
    graph = torch_graph.Graph(inputs, operators.OPERATORS)
    outputs = graph.trace(module, rows)
    widths = [graph.nodes.get_width(output.node) for output in outputs]
    names = _name_outputs(module, rows) if isinstance(options.output, str) else []
    indices = _choose_outputs(widths, options.output, names)
    parts, start = [], 0
    for output, width in zip(outputs, widths, strict=True):
        selected = [index - start for index in indices if start <= index < start + width]
        parts += [graph.nodes.add_select(output.node, selected)] if selected else []
        start += width
    last = graph.nodes.add_concat(parts)
    if len(indices) > 1:
        last = graph.nodes.add_dense(last, np.full((len(indices), 1), 1 / len(indices)), np.zeros(1))

    def predict_scaled(rows: Array) -> Array:
        parts = []
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            batch = np.resize(part, (max(len(part), 2), inputs))  # with one row, squeeze() would remove the dimension
            tensors = _flatten_tensors(module(torch.from_numpy(batch).to(dtype)))
            values = [
                np.moveaxis(_to_float64(tensor), output.axis, 0).reshape(len(batch), -1)
                for tensor, output in zip(tensors, outputs, strict=True)
            ]
            parts.append(np.concatenate(values, axis=1)[: len(part), indices].mean(axis=1))
        return np.concatenate(parts)

    run = _disable_gradients(predict_scaled)
    scaled_imputation = missing.find_imputation(
        run, filled[:2], graph.nan_replacements, names=spec.names, explicit=spec.explicit_imputation
    )
    module_imputation = scaled_imputation * scale + centre
    imputation = _merge_imputation(module_imputation, spec)
    return conversion.ConvertedModel(
        model=bundle_model.Network(layers=graph.nodes.build(last), imputation=imputation, centre=centre, scale=scale),
        # NaN that the module itself replaces is passed on, so that the bundle is compared with that.
        predict=lambda raw: run(
            (np.where(np.isnan(raw) & np.isnan(module_imputation), imputation, raw) - centre) / scale
        ),
        takes_missing=bool(np.isfinite(module_imputation).any()),
        facts=facts,
    )


def _merge_imputation(module_imputation: Array, spec: conversion.InputSpec) -> Array:
    """Return the module's own imputation, and the caller's for the inputs of which the module has none.

    Raises:
        errors.ExportError: The caller passed a number that contradicts the module's.
    """
    unlike = np.flatnonzero(~np.isnan(module_imputation) & ~np.isclose(module_imputation, spec.imputation))
    if spec.explicit_imputation and unlike.size:
        name = spec.names[unlike[0]]
        raise errors.ExportError(
            f"export: imputation= is {spec.imputation[unlike[0]]:g} for {name}, but the module itself replaces a "
            f"missing value by {module_imputation[unlike[0]]:g}, with nan_to_num; omit imputation="
        )
    return np.where(np.isnan(module_imputation), spec.imputation, module_imputation)


def _unwrap(model: Any) -> tuple[torch.nn.Module, dict[str, bundle_model.Fact]]:
    """Return the module inside a wrapper, and its facts for the bundle."""
    facts: dict[str, bundle_model.Fact] = {"framework": "torch", "version": str(torch.__version__)}
    for base in type(model).__mro__:
        package = base.__module__.partition(".")[0]
        if package in {"lightning", "pytorch_lightning", "skorch"}:
            facts["wrapper"] = package
            break
    if facts.get("wrapper") == "skorch":
        model = _wrap_skorch(model)
    if isinstance(model, (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)):
        model = model.module
    model = getattr(model, "_orig_mod", model)  # torch.compile wraps the module
    if isinstance(model, torch.jit.ScriptModule):
        raise errors.ExportError(
            f"{type(model).__name__} cannot be traced; export the module that it was scripted from, or "
            f"{torch_graph.ADVICE}"
        )
    if not isinstance(model, torch.nn.Module):
        raise errors.ExportError(
            f"{type(model).__module__}.{type(model).__qualname__} is not a torch.nn.Module; export the module "
            "that predicts"
        )
    return model, facts


def _wrap_skorch(net: Any) -> Any:
    """Return a module with the outputs of a skorch net's ``predict``, or ``predict_proba`` of a classifier."""
    module = getattr(net, "module_", None)
    if module is None:
        raise errors.ExportError(f"{type(net).__name__} is not trained; fit it or load its parameters first")
    inner: torch.nn.Module = module
    # skorch resolves predict_nonlinearity="auto" only here.
    last: Callable[[Any], Any] = net._get_predict_nonlinearity()  # noqa: SLF001

    class Net(torch.nn.Module):
        """The module, and the nonlinearity that skorch applies to its first output."""

        def __init__(self) -> None:
            super().__init__()
            self.module_ = inner

        def forward(self, x: torch.Tensor) -> Any:
            result = self.module_(x)
            return last(result[0] if isinstance(result, tuple) else result)

    return Net()


def _check_forward(module: torch.nn.Module) -> None:
    """Refuse a module whose ``forward`` does not take exactly one tensor."""
    try:
        inspect.signature(module.forward).bind(None)
    except TypeError as error:
        raise errors.ExportError(
            f"forward of {type(module).__name__} does not take one tensor ({error}); "
            "export a module whose forward takes all inputs as one tensor (rows, inputs), features first"
        ) from error
    except ValueError:  # there is no signature; tracing fails if the arguments are wrong
        return


def _check_sizes(module: torch.nn.Module) -> None:
    """Refuse lazy layers that were never run: the copy would draw random weights when it first runs."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if torch.nn.parameter.is_lazy(tensor):
            raise errors.ExportError(
                f"{type(module).__name__} is not trained: `{name}` has no size yet; train it or load its "
                "parameters first"
            )


def _copy_module(module: torch.nn.Module) -> torch.nn.Module:
    """Return a deep copy.

    PyTorch refuses to copy tensors with a gradient history, which a module may keep as attributes (a loss, an
    activation, the weights of an old ``weight_norm``). Their values are copied instead.
    """
    tensors = [tensor for part in module.modules() for tensor in _flatten_tensors(list(vars(part).values()))]
    return copy.deepcopy(module, {id(tensor): tensor.detach().clone() for tensor in tensors if not tensor.is_leaf})


def _prepare_module(module: torch.nn.Module, rows: Array) -> tuple[torch.nn.Module, torch.dtype]:
    """Return a copy on the CPU in evaluation mode, and its dtype: float64, or float32 if the module fails in float64.

    Raises:
        errors.ExportError: The module cannot be copied, or does not run on rows of the sample.
    """
    failures: list[Exception] = []
    for dtype in (torch.float64, torch.float32):
        try:
            copied = _copy_module(module).to(device="cpu", dtype=dtype).eval()
            with torch.no_grad():
                copied(torch.from_numpy(rows[:2]).to(dtype))
        except Exception as error:  # noqa: BLE001 - the user's module may raise anything
            failures.append(error)
        else:
            return copied, dtype
    message = str(failures[-1]).strip().split("\n", 1)[0][:300]
    raise errors.ExportError(
        f"{type(module).__name__} cannot predict rows of the sample, with {rows.shape[1]:,} inputs each "
        f"({type(failures[-1]).__name__}: {message}); check the features, and that it runs on the CPU"
    ) from failures[-1]


def _choose_outputs(widths: list[int], output: Any, names: list[str]) -> list[int]:
    """Return the indices of the values whose mean is the prediction, among those of all tensors.

    Args:
        widths: Number of values of each tensor.
        output: See ``TorchOptions``.
        names: From ``_name_outputs``, if ``output`` is a string.

    Raises:
        errors.ExportError: There are several values and no ``output``, or ``output`` is invalid.
    """
    count = sum(widths)
    if output is None:
        if count == 1:
            return [0]
        raise errors.ExportError(
            f"the model returns {count:,} values for each row; pass output=K to use the one at index K, counted from "
            '0, or output="mean" for their mean'
        )
    if isinstance(output, str) and output in names:
        start = sum(widths[: names.index(output)])
        return list(range(start, start + widths[names.index(output)]))
    if output == "mean":
        return list(range(count))
    if isinstance(output, bool) or not isinstance(output, int) or not 0 <= output < count:
        keys = f", 'mean' or one of the keys {format_list(names)}" if any(names) else ""
        raise errors.ExportError(
            f"invalid value {output!r} for output; expected an integer from 0 to {count - 1:,}{keys}: the model "
            f"returns {count:,} values for each row"
        )
    return [output]


def _name_outputs(module: torch.nn.Module, rows: torch.Tensor) -> list[str]:
    """Return the key of each tensor that the module returns in a dict; an empty string for others."""
    with torch.no_grad():
        leaves, _ = torch.utils._pytree.tree_flatten_with_path(module(rows))  # noqa: SLF001 - as in _flatten_tensors
    return [
        str(getattr(path[-1], "key", "")) if path else "" for path, leaf in leaves if isinstance(leaf, torch.Tensor)
    ]


def _broadcast_option(spec: conversion.InputSpec, name: str, value: float | Sequence[float]) -> Array:
    """Return an option's number for each input: float64 (n,).

    Raises:
        errors.ExportError: It is not one number, or one for each input; or a number is invalid.
    """
    try:
        numbers: Array = np.broadcast_to(np.asarray(value, dtype=np.float64), spec.imputation.shape).copy()
    except (TypeError, ValueError) as error:
        raise errors.ExportError(
            f"invalid value for {name}; expected one number, or one for each of {len(spec.imputation):,} inputs "
            f"({error})"
        ) from error
    invalid = np.flatnonzero(~np.isfinite(numbers) | ((numbers == 0) & (name == "scale")))
    if invalid.size:
        index = invalid[0]
        raise errors.ExportError(
            f"invalid value {numbers[index]:g} in {name} for {spec.names[index]} ({invalid.size:,} of {len(numbers):,} "
            f"inputs are invalid); expected finite numbers{' other than 0' if name == 'scale' else ''}"
        )
    return numbers


def _flatten_tensors(tree: Any) -> list[torch.Tensor]:
    """Return the tensors in nested containers, in the order of torch.export's outputs."""
    leaves, _ = torch.utils._pytree.tree_flatten(tree)  # noqa: SLF001 - torch.export flattens outputs with it
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _to_float64(tensor: torch.Tensor) -> Array:
    numbers: Array = tensor.to(torch.float64).numpy()
    return numbers


def _disable_gradients(predict: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Return a function that runs ``predict`` without recording gradients."""

    def run(raw: Array) -> Array:
        with torch.no_grad():
            return predict(raw)

    return run
