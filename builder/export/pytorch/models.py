"""PyTorch modules, by themselves or inside Lightning and skorch, by tracing what they compute."""

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

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builder.export.conversion import Array

OPTION_HINT = ""
DEFAULT_RANK: frameworks.Rank = "era"

_CHUNK = 1_024


@dataclass(frozen=True, kw_only=True)
class Options(frameworks.Options):
    """What ``export`` takes for a module.

    Attributes:
        output: Which of several values a row is the prediction, counted from 0.
        centre: Subtracted from the inputs before the module gets them: one number, or one each input.
        scale: What they are divided by after that; not 0.
    """

    output: int | None = None
    centre: float | Sequence[float] = 0.0
    scale: float | Sequence[float] = 1.0


def feature_names(_model: Any, _options: Options) -> tuple[str, ...] | None:
    """Return None: a module does not know the names of its inputs."""
    return None


def convert(model: Any, given: conversion.InputSpec, options: Options) -> conversion.ConvertedModel:
    """Return a module's network.

    The module is copied to the CPU and set to evaluation, in float64 where it can be computed so; the copy is what is
    traced and what predicts the golden rows, and the caller's own is not changed.

    Raises:
        errors.ExportError: It has a part that cannot be expressed; it gives several values a row; it cannot be traced.
    """
    module, facts = _unwrapped(model)
    inputs = len(given.imputation)
    centre, scale = _of_inputs(given, "centre", options.centre), _of_inputs(given, "scale", options.scale)
    _check_forward(module)
    _check_sizes(module)
    filled = (np.where(np.isnan(given.sample), given.imputation, given.sample) - centre) / scale
    module, kind = _evaluated(module, filled)
    rows = torch.from_numpy(np.resize(filled, (torch_graph.ROWS, inputs))).to(kind)
    graph = torch_graph.Graph(inputs, operators.OPERATORS)
    results = graph.follow(module, rows)
    chosen = _chosen([graph.nodes.width(result.place) for result in results], options.output)
    last = graph.nodes.select(results[chosen[0]].place, [chosen[1]])

    def predict_scaled(rows: Array) -> Array:
        parts = []
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            several = np.resize(part, (max(len(part), 2), inputs))  # of one row, squeeze() would take the rows away
            result = _results(module(torch.from_numpy(several).to(kind)))[chosen[0]]
            axis = results[chosen[0]].axis
            numbers = np.moveaxis(_numbers(result), axis, 0).reshape(len(several), -1)
            parts.append(numbers[: len(part), chosen[1]])
        return np.concatenate(parts)

    run = _quietly(predict_scaled)
    names = (*given.features, *given.benchmarks)
    own = missing.own_imputation(run, filled[:2], graph.nan_values, names=names, said=given.imputed)
    own = own * scale + centre
    imputation = _together(own, given)
    return conversion.ConvertedModel(
        model=bundle_model.Network(layers=graph.nodes.built(last), imputation=imputation, centre=centre, scale=scale),
        # What the module itself puts there it is left to put, so that the bundle is compared with that.
        predict=lambda raw: run((np.where(np.isnan(raw) & np.isnan(own), imputation, raw) - centre) / scale),
        takes_missing=bool(np.isfinite(own).any()),
        facts=facts,
    )


def _together(own: Array, given: conversion.InputSpec) -> Array:
    """Return the module's own imputation, and what else is said of the inputs of which it has none.

    Raises:
        errors.ExportError: The caller says another.
    """
    unlike = np.flatnonzero(~np.isnan(own) & ~np.isclose(own, given.imputation))
    if given.imputed and unlike.size:
        name = (*given.features, *given.benchmarks)[unlike[0]]
        raise errors.ExportError(
            f"export: imputation= says {given.imputation[unlike[0]]:g} where {name} is missing, and the module itself "
            f"puts {own[unlike[0]]:g} there, by nan_to_num; leave imputation= out"
        )
    return np.where(np.isnan(own), given.imputation, own)


def _unwrapped(model: Any) -> tuple[torch.nn.Module, dict[str, bundle_model.Fact]]:
    """Return the module inside a wrapper, and what it came in."""
    facts: dict[str, bundle_model.Fact] = {"framework": "torch", "version": str(torch.__version__)}
    for base in type(model).__mro__:
        package = base.__module__.partition(".")[0]
        if package in {"lightning", "pytorch_lightning", "skorch"}:
            facts["wrapper"] = package
            break
    if facts.get("wrapper") == "skorch":
        model = _from_skorch(model)
    if isinstance(model, (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)):
        model = model.module
    model = getattr(model, "_orig_mod", model)  # of torch.compile
    if isinstance(model, torch.jit.ScriptModule):
        raise errors.ExportError(
            f"{type(model).__name__} cannot be traced; export the module that it was scripted from, or "
            f"{torch_graph.WAY_OUT.replace('it,', 'this one,')}"
        )
    if not isinstance(model, torch.nn.Module):
        raise errors.ExportError(
            f"{type(model).__module__}.{type(model).__qualname__} is no torch.nn.Module; export the one that predicts"
        )
    return model, facts


def _from_skorch(net: Any) -> Any:
    """Return a module that gives what ``predict`` (of a classifier: ``predict_proba``) of a skorch net does."""
    module = getattr(net, "module_", None)
    if module is None:
        raise errors.ExportError(f"{type(net).__name__} is not trained yet; fit it, or load its parameters, first")
    inner: torch.nn.Module = module
    # "auto" is resolved nowhere else.
    last: Callable[[Any], Any] = net._get_predict_nonlinearity()  # noqa: SLF001

    class Net(torch.nn.Module):
        """The module, and what skorch does to its first output."""

        def __init__(self) -> None:
            super().__init__()
            self.module_ = inner

        def forward(self, x: torch.Tensor) -> Any:
            result = self.module_(x)
            return last(result[0] if isinstance(result, tuple) else result)

    return Net()


def _check_forward(module: torch.nn.Module) -> None:
    """Make sure that ``forward`` takes one tensor.

    Raises:
        errors.ExportError: It takes none, or more.
    """
    try:
        inspect.signature(module.forward).bind(None)
    except TypeError as error:
        raise errors.ExportError(
            f"forward of {type(module).__name__} does not take one tensor ({error}); "
            "export a module whose forward takes all inputs as one tensor (rows, inputs), features first"
        ) from error
    except ValueError:  # no signature to be had: calling it will tell
        return


def _check_sizes(module: torch.nn.Module) -> None:
    """Make sure that lazy parts have their weights: of one that was never run, the copy would draw its own.

    Raises:
        errors.ExportError: One has none yet.
    """
    for name, held in (*module.named_parameters(), *module.named_buffers()):
        if torch.nn.parameter.is_lazy(held):
            raise errors.ExportError(
                f"{type(module).__name__} is not trained: `{name}` has no size yet; train it, or load its parameters, "
                "first"
            )


def _copied(module: torch.nn.Module) -> torch.nn.Module:
    """Return a copy.

    A module that keeps what it computed in training (a loss, an activation, the weights of an old ``weight_norm``)
    holds parts of a graph, which PyTorch does not copy: they come as plain numbers.
    """
    held = [one for part in module.modules() for one in _results(list(vars(part).values()))]
    return copy.deepcopy(module, {id(one): one.detach().clone() for one in held if not one.is_leaf})


def _evaluated(module: torch.nn.Module, rows: Array) -> tuple[torch.nn.Module, torch.dtype]:
    """Return a copy on the CPU in evaluation, in float64 if it runs so, and its type.

    Raises:
        errors.ExportError: It cannot be copied, or does not run on rows of the sample.
    """
    failed: list[Exception] = []
    for kind in (torch.float64, torch.float32):
        try:
            made = _copied(module).to(device="cpu", dtype=kind).eval()
            with torch.no_grad():
                made(torch.from_numpy(rows[:2]).to(kind))
        except Exception as error:  # noqa: BLE001 - whatever the user's own code raises
            failed.append(error)
        else:
            return made, kind
    said = str(failed[-1]).strip().split("\n", 1)[0][:300]
    raise errors.ExportError(
        f"{type(module).__name__} does not predict rows of the sample, {rows.shape[1]:,} inputs each "
        f"({type(failed[-1]).__name__}: {said}); check the features, and that it runs on the CPU"
    ) from failed[-1]


def _chosen(widths: list[int], said: Any) -> tuple[int, int]:
    """Return which result, and which value of it, is the prediction.

    Raises:
        errors.ExportError: There are several and none is named, or it is none of them.
    """
    places = [(result, value) for result, width in enumerate(widths) for value in range(width)]
    if said is None:
        if len(places) == 1:
            return places[0]
        raise errors.ExportError(
            f"the model gives {len(places):,} values a row; pass output=K to take the one at K, counted from 0, "
            "or wrap it in a module that makes one of them"
        )
    if isinstance(said, bool) or not isinstance(said, int) or not 0 <= said < len(places):
        raise errors.ExportError(
            f"output={said!r}: the model gives {len(places):,} values a row, 0 to {len(places) - 1:,}"
        )
    return places[said]


def _of_inputs(given: conversion.InputSpec, name: str, value: float | Sequence[float]) -> Array:
    """Return what the caller said of each input, one number or one each: float64 (n,).

    Raises:
        errors.ExportError: It is something else.
    """
    try:
        found: Array = np.broadcast_to(np.asarray(value, dtype=np.float64), given.imputation.shape).copy()
    except (TypeError, ValueError) as error:
        raise errors.ExportError(
            f"{name}=; expected one number, or one for each of {len(given.imputation):,} inputs ({error})"
        ) from error
    bad = np.flatnonzero(~np.isfinite(found) | ((found == 0) & (name == "scale")))
    if bad.size:
        first = (*given.features, *given.benchmarks)[bad[0]]
        raise errors.ExportError(
            f"{name}=: {found[bad[0]]:g} for {first} ({bad.size:,} of {len(found):,} inputs are invalid); expected "
            f"finite numbers{', none of them 0' if name == 'scale' else ''}"
        )
    return found


def _results(result: Any) -> list[torch.Tensor]:
    """Return the tensors of what a module gives, in torch.export's order."""
    flat, _ = torch.utils._pytree.tree_flatten(result)  # noqa: SLF001 - the one that torch.export flattens by
    return [one for one in flat if isinstance(one, torch.Tensor)]


def _numbers(tensor: torch.Tensor) -> Array:
    numbers: Array = tensor.to(torch.float64).numpy()
    return numbers


def _quietly(predict: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Return the function, run without gradients."""

    def run(raw: Array) -> Array:
        with torch.no_grad():
            return predict(raw)

    return run
