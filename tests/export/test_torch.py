"""PyTorch modules: the framework, the bundle and the pickle predict the same; unsupported parts are named."""

from __future__ import annotations

import copy
import functools
import math
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from builder import errors
from builder.bundle import model as bundle_model
from builder.bundle import prediction
from builder.bundle.storage import read
from builder.export import export
from builder.inside import operators
from tests.support import pickles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from builder.bundle import model as bundle_model

INPUTS = 6
NAMES = tuple(f"feature_{index}" for index in range(INPUTS))
# Tracing takes half a second, and examples are small: no shrinking.
QUICK = settings(
    max_examples=8,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


def rows(count: int = 50, *, seed: int = 3) -> pd.DataFrame:
    """Return integer features, some of them missing."""
    random = np.random.default_rng(seed)
    values = random.integers(0, 5, size=(count, INPUTS)).astype(np.float64)
    values[random.random(values.shape) < 0.03] = np.nan
    index = pd.Index([f"n{row}" for row in range(count)], name="id")
    return pd.DataFrame(values, index=index, columns=list(NAMES)).assign(era="X")


def randomize(module: nn.Module, *, seed: int = 1) -> nn.Module:
    """Set all parameters to random numbers, and the statistics of batch norms."""
    torch.manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn_like(parameter) / math.sqrt(max(parameter.shape[-1] if parameter.ndim else 1, 1))
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_var is not None:
            part.running_mean = torch.randn_like(part.running_var)
            part.running_var = torch.rand_like(part.running_var) + 0.5
    return module


def assert_same_everywhere(module: Any, folder: Path, **options: Any) -> bundle_model.Bundle:
    """Export a module, build a pickle of the bundle, and compare the predictions on other rows."""
    sample = rows()
    result = export(module, folder / "net", sample=sample, **options)
    assert result.parity.difference <= result.parity.bound / 50
    bundle = read.read(folder / "net")
    live = rows(80, seed=9)
    inputs = live[list(NAMES)].to_numpy()
    raw = pickles.get_predict_raw(pickles.load_predict(bundle))
    expected = prediction.predict(bundle.model, inputs)
    bound = prediction.compute_tolerance(expected)
    assert np.abs(raw(live, None) - expected).max() <= bound
    assert np.abs(raw(live.iloc[[4]], None) - expected[[4]]).max() <= bound
    complete = live.dropna()
    assert raw(complete.astype(dict.fromkeys(NAMES, "int8")), None).tolist() == raw(complete, None).tolist()
    if isinstance(module, nn.Module) and not options:
        filled = np.where(np.isnan(inputs), bundle.model.imputation, inputs)
        framework_predictions = (
            copy.deepcopy(module).eval()(torch.tensor(filled, dtype=torch.float32)).detach().numpy().reshape(-1)
        )
        np.testing.assert_allclose(
            raw(live, None), framework_predictions, rtol=2e-4, atol=2e-4 * (np.abs(framework_predictions).max() + 1)
        )
    return bundle


def chain(*parts: nn.Module) -> nn.Module:
    return randomize(nn.Sequential(*parts))


class Block(nn.Module):
    """A residual block whose attribute names mean nothing."""

    def __init__(self, width: int, act: nn.Module) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.LayerNorm(width), nn.Linear(width, width), act
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> Any:
        return x + functional.dropout(self.c(self.b(self.a(x))), 0.2, self.training) * self.scale


class Branch(nn.Module):
    """Wide and deep: raw inputs next to the outputs of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(INPUTS)
        self.deep = nn.Sequential(nn.Linear(INPUTS, 8), nn.ReLU(inplace=True), nn.Dropout(), Block(8, nn.SiLU()))
        self.few = nn.Linear(2, 3)
        self.end = nn.Linear(8 + 3 + INPUTS, 1)

    def forward(self, x: torch.Tensor) -> Any:
        h = self.deep(self.norm(x))
        h += 0.5
        few = functional.elu(self.few(x[:, [0, 4]]))
        return self.end(torch.cat([h, few.flip(1), x], dim=1)).squeeze(-1)


@st.composite
def chains(draw: st.DrawFn) -> nn.Module:
    """Typical sequential networks."""
    parts: list[nn.Module] = [nn.BatchNorm1d(INPUTS)] if draw(st.booleans()) else []
    width = INPUTS
    for _ in range(draw(st.integers(1, 4))):
        new_width = draw(st.integers(1, 12))
        parts.append(nn.Linear(width, new_width, bias=draw(st.booleans())))
        width = new_width
        norm = draw(st.sampled_from([None, nn.BatchNorm1d, nn.LayerNorm])) if width > 1 else None
        act = draw(st.sampled_from(MODULES))
        rest = [*([norm(width)] if norm else []), act(), nn.Dropout(0.1)]
        parts += [*rest, Block(width, act())] if width > 1 and draw(st.booleans()) else rest
    return randomize(nn.Sequential(*parts, nn.Linear(width, 1)), seed=draw(st.integers(0, 2**31)))


DOCUMENTED: dict[str, Callable[[], nn.Module]] = {
    name: functools.partial(
        eval, activation.same_as if activation.same_as.endswith(")") else f"{activation.same_as}()", {"torch": torch}
    )
    for name, activation in operators.ACTIVATIONS.items()
    if activation.same_as.startswith("torch.nn.")
}
MODULES: list[Callable[[], nn.Module]] = [*DOCUMENTED.values(), nn.RReLU, nn.PReLU, nn.Identity]
COMPOSED = {"tanhshrink"}  # becomes a difference of two nodes


@QUICK
@given(module=chains())
def test_random_chain_predicts_the_same(module: nn.Module, tmp_path: Path) -> None:
    assert_same_everywhere(module, tmp_path)


class Parallel(nn.Module):
    """Concatenates the outputs of several parts for the same inputs."""

    def __init__(self, parts: Sequence[Callable[[torch.Tensor], torch.Tensor]], width: int) -> None:
        super().__init__()
        self.parts = list(parts)
        self.submodules = nn.ModuleList([part for part in parts if isinstance(part, nn.Module)])
        self.end = nn.Linear(width, 1)

    def forward(self, x: torch.Tensor) -> Any:
        return self.end(torch.cat([part(x) for part in self.parts], dim=1))


def test_every_activation_module(tmp_path: Path) -> None:
    parts = [nn.Sequential(nn.Linear(INPUTS, 9), act()) for act in MODULES]
    bundle = assert_same_everywhere(randomize(Parallel(parts, 9 * len(parts))), tmp_path)
    assert {layer.activation.name for layer in bundle.model.layers} >= DOCUMENTED.keys() - COMPOSED


def test_branches_residuals_slices_and_in_place_operators(tmp_path: Path) -> None:
    assert_same_everywhere(randomize(Branch()), tmp_path)


class Applies(nn.Module):
    """Applies a function to the inputs, then one layer."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], width: int = INPUTS) -> None:
        super().__init__()
        self.function, self.last = function, nn.Linear(width, 1)

    def forward(self, x: torch.Tensor) -> Any:
        return self.last(self.function(x))


WEIGHTS = torch.linspace(-1, 1, INPUTS * 4).reshape(INPUTS, 4)

FUNCTIONS: list[tuple[Callable[[torch.Tensor], torch.Tensor], int]] = [
    (lambda x: x.relu().tanh().sigmoid(), 6),
    (lambda x: torch.relu_(x - 2.0), 6),
    (lambda x: functional.leaky_relu(1 - x, 0.3), 6),
    (lambda x: x * torch.sigmoid(x), 6),
    (lambda x: -x / 2 + x.abs() - (x - 1).pow(2), 6),
    (lambda x: x.clamp(1, 3) + x.clamp(min=0.5) + x.clamp(max=2.5), 6),
    (lambda x: torch.softmax(x, dim=1), 6),
    (lambda x: x @ WEIGHTS.to(x) + 1, 4),
    (lambda x: (WEIGHTS.T.to(x) @ x.T).T, 4),
    (lambda x: torch.addmm(torch.ones(4).to(x), x, WEIGHTS.to(x)), 4),
    (lambda x: x - x.mean(dim=1, keepdim=True), 6),
    (lambda x: torch.stack([x, x.exp() / 9], dim=0).mean(0), 6),
    (lambda x: x.unsqueeze(1).flatten(1).view(-1, 2, 3).transpose(1, 2).reshape(len(x), 6), 6),
    (lambda x: torch.cat(x.chunk(3, dim=1)[::-1], dim=1), 6),
    (lambda x: x[:, 1:4:2].repeat(1, 2), 4),
    (lambda x: functional.group_norm(x, 1), 6),
    (lambda x: functional.layer_norm(x, (6,)), 6),
    (lambda x: torch.nan_to_num(x, 2.0), 6),
]


def test_functions_and_methods_are_traced(tmp_path: Path) -> None:
    module = Parallel([function for function, _ in FUNCTIONS], sum(width for _, width in FUNCTIONS))
    assert_same_everywhere(randomize(module), tmp_path)


def test_module_that_requires_float32(tmp_path: Path) -> None:
    """It does not run in float64; its float32 rounding errors are within the bound."""
    module = randomize(Applies(lambda x: x.to(torch.float32) @ WEIGHTS, 4))
    export(module, tmp_path / "net", sample=rows())


def test_batch_norm_and_prelu_with_channels(tmp_path: Path) -> None:
    module = chain(nn.Unflatten(1, (3, 2)), nn.BatchNorm1d(3), nn.PReLU(3), nn.Flatten(), nn.Linear(6, 1))
    assert_same_everywhere(module, tmp_path)


def test_shared_and_parametrized_weights(tmp_path: Path) -> None:
    same = nn.Linear(INPUTS, INPUTS)
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(INPUTS, 1))
    assert_same_everywhere(randomize(nn.Sequential(same, nn.ReLU(), same, nn.Tanh(), normed)), tmp_path)


def test_final_sigmoid_bounds_predictions(tmp_path: Path) -> None:
    bundle = assert_same_everywhere(chain(nn.Linear(INPUTS, 1), nn.Sigmoid()), tmp_path, rank=None)
    assert bundle.post == ()
    assert [layer.activation.name for layer in bundle.model.layers] == ["sigmoid"]


def test_module_is_not_changed(tmp_path: Path) -> None:
    module = chain(nn.Linear(INPUTS, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 1)).train()
    before = copy.deepcopy(module.state_dict())
    export(module, tmp_path / "net", sample=rows())
    assert module.training
    assert next(module.parameters()).dtype == torch.float32
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_weights_are_float32_and_golden_predictions_float64(tmp_path: Path) -> None:
    module = chain(nn.Linear(INPUTS, 4), nn.Tanh(), nn.Linear(4, 1))
    bundle = assert_same_everywhere(module, tmp_path)
    assert {layer["weights"].dtype.name for layer in bundle.model.layers} == {"float32"}
    assert bundle.trained["framework"] == "torch"
    predicted = prediction.predict(bundle.model, np.asarray(bundle.golden.inputs, dtype=np.float64))
    np.testing.assert_allclose(bundle.golden.predictions, predicted, rtol=1e-12, atol=1e-12)


def test_centre_and_scale(tmp_path: Path) -> None:
    module = chain(nn.Linear(INPUTS, 4), nn.Tanh(), nn.Linear(4, 1))
    centre, scale = np.linspace(1, 3, INPUTS), np.linspace(0.5, 2, INPUTS)
    bundle = assert_same_everywhere(module, tmp_path, centre=centre, scale=scale, imputation=2.0)
    inputs = rows().dropna()[list(NAMES)].to_numpy()
    framework_predictions = (
        module.eval()(torch.tensor((inputs - centre) / scale, dtype=torch.float32)).detach().numpy()[:, 0]
    )
    np.testing.assert_allclose(prediction.predict(bundle.model, inputs), framework_predictions, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"scale": np.array([1, 1, 0, 1, 0, 1])},
            r"invalid value 0 in scale for feature_2 \(2 of 6 inputs are invalid\); .* other than 0$",
        ),
        (
            {"centre": np.nan},
            r"invalid value nan in centre for feature_0 \(6 of 6 inputs are invalid\); expected finite numbers$",
        ),
        ({"scale": [1, 2]}, r"invalid value for scale; expected one number, or one for each of 6 inputs"),
    ],
)
def test_invalid_scaling_is_named(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(errors.ExportError, match=message):
        export(chain(nn.Linear(INPUTS, 1)), tmp_path / "net", sample=rows(), **options)


class StoresOutput(nn.Module):
    """Stores its last output in an attribute, as for a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(INPUTS, 4), nn.Tanh(), nn.Linear(4, 1))
        self.outputs: dict[str, list[Any]] = {"last": []}

    def forward(self, x: torch.Tensor) -> Any:
        result = self.net(x)
        self.outputs = {"last": [result, x]}
        return result


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("make", [StoresOutput, lambda: nn.Sequential(nn.utils.weight_norm(nn.Linear(INPUTS, 1)))])
def test_module_with_tensors_of_its_last_graph(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    module = randomize(make())
    module(torch.ones(3, INPUTS)).sum().backward()  # the state after training
    bundle = assert_same_everywhere(module, tmp_path, imputation=2.0)
    inputs = rows().dropna()[list(NAMES)].to_numpy()
    framework_predictions = module(torch.tensor(inputs, dtype=torch.float32)).detach().numpy()[:, 0]
    np.testing.assert_allclose(prediction.predict(bundle.model, inputs), framework_predictions, rtol=1e-4, atol=1e-5)


class Squeezed(nn.Module):
    """Ends in ``squeeze()``, as many modules do: for one row it returns a scalar."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(INPUTS, 4), nn.Tanh(), nn.Linear(4, 1))

    def forward(self, x: torch.Tensor) -> Any:
        return self.net(x).squeeze()


@pytest.mark.parametrize("count", [1, 2, 1025])
def test_module_that_squeezes_its_rows(count: int, tmp_path: Path) -> None:
    module = randomize(Squeezed())
    assert export(module, tmp_path / "net", sample=rows(count)).parity.rows == count
    bundle = read.read(tmp_path / "net")
    golden = bundle.golden
    filled = np.where(np.isnan(golden.inputs), bundle.model.imputation, golden.inputs)
    framework_predictions = module(torch.tensor(np.resize(filled, (70, INPUTS)), dtype=torch.float32)).detach().numpy()
    np.testing.assert_allclose(golden.predictions, framework_predictions[: len(golden.inputs)], atol=1e-5)


class ReplacesNan(nn.Module):
    """Calls ``nan_to_num`` itself: on the inputs, on some of them, or on its output."""

    def __init__(self, location: str) -> None:
        super().__init__()
        self.location = location
        self.net = nn.Sequential(nn.Linear(INPUTS, 4), nn.Tanh(), nn.Linear(4, 1))

    def forward(self, x: torch.Tensor) -> Any:
        if self.location == "inputs":
            x = torch.nan_to_num(x, nan=0.5)
        elif self.location == "some":
            x = torch.cat([x[:, :1], torch.nan_to_num(x[:, 1:])], dim=1)
        result = self.net(x)
        return torch.nan_to_num(result) if self.location == "end" else result


@pytest.mark.parametrize(
    ("location", "options"), [("inputs", {}), ("inputs", {"centre": 2.0, "scale": 0.5}), ("some", {})]
)
def test_imputation_by_the_module(location: str, options: dict[str, float], tmp_path: Path) -> None:
    module = randomize(ReplacesNan(location))
    assert_same_everywhere(module, tmp_path, **options)
    bundle = read.read(tmp_path / "net")
    live = rows(300, seed=5)
    if location == "some":
        live = live[live[NAMES[0]].notna()]
    raw = pickles.get_predict_raw(pickles.load_predict(bundle))(live, None)
    scaled = (live[list(NAMES)].to_numpy() - options.get("centre", 0.0)) / options.get("scale", 1.0)
    framework_predictions = module(torch.tensor(scaled, dtype=torch.float32)).detach().numpy()[:, 0]
    np.testing.assert_allclose(raw, framework_predictions, atol=1e-5)
    assert np.isnan(bundle.golden.inputs).any()


def test_unsupported_imputation_by_the_module_is_named(tmp_path: Path) -> None:
    result = export(randomize(ReplacesNan("end")), tmp_path / "net", sample=rows())
    message = f"predicts if {NAMES[0]} is missing, with nan_to_num, but not as for any one number"
    assert any(message in note for note in result.notes)  # stored as data, it replaces missing values itself
    assert np.isnan(read.read(tmp_path / "net").golden.inputs).any()
    export(randomize(ReplacesNan("end")), tmp_path / "net", sample=rows(), imputation=1.0)
    assert (read.read(tmp_path / "net").model.imputation == 1).all()
    result = export(randomize(ReplacesNan("inputs")), tmp_path / "net", sample=rows(), imputation=2.0)
    message = f"imputation= is 2 for {NAMES[0]}, but the module itself replaces a missing value by 0.5"
    assert any(message in note for note in result.notes)


class DependsOnRowCount(nn.Module):
    """Divides the prediction by the number of rows."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(INPUTS, 1)

    def forward(self, x: torch.Tensor) -> Any:
        return self.net(x) / x.shape[0]


def test_model_that_depends_on_other_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        errors.ExportError, match="the model's own predictions for some of the rows alone differ by up to"
    ):
        export(randomize(DependsOnRowCount()), tmp_path / "net", sample=rows())


def test_output_selects_a_value(tmp_path: Path) -> None:
    module = chain(nn.Linear(INPUTS, 4), nn.Tanh(), nn.Linear(4, 3))
    with pytest.raises(errors.ExportError, match=r"3 values for each row; pass output=K"):
        export(module, tmp_path / "net", sample=rows())
    with pytest.raises(
        errors.ExportError,
        match=r"invalid value 3 for output; expected an integer from 0 to 2: the model returns 3 values for each row",
    ):
        export(module, tmp_path / "net", sample=rows(), output=3)
    bundle = assert_same_everywhere(module, tmp_path, output=1)
    inputs = rows().dropna()[list(NAMES)].to_numpy()
    framework_predictions = module.eval()(torch.tensor(inputs, dtype=torch.float32)).detach().numpy()[:, 1]
    np.testing.assert_allclose(prediction.predict(bundle.model, inputs), framework_predictions, rtol=1e-4, atol=1e-5)


class TwoTensors(nn.Module):
    """Returns a prediction and a hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.last = nn.Linear(INPUTS, 2), nn.Linear(2, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = self.body(x)
        return {"hidden": hidden, "value": self.last(hidden)[:, 0]}


class MixedOutput(nn.Module):
    """Returns its prediction among objects that are not tensors."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layer = nn.Linear(INPUTS, 1)
        self.kind = kind

    def forward(self, x: torch.Tensor) -> Any:
        y = self.layer(x)
        return {"none": (y, None), "list": [None, y], "dict": {"count": 3, "y": y, "name": "x"}}[self.kind]


@pytest.mark.parametrize("kind", ["none", "list", "dict"])
def test_outputs_other_than_tensors_are_ignored(kind: str, tmp_path: Path) -> None:
    module = randomize(MixedOutput(kind))
    assert export(module, tmp_path / "net", sample=rows()).parity.bound > 0
    inputs = rows(9, seed=9).dropna()[list(NAMES)].to_numpy()
    framework_predictions = module.layer(torch.tensor(inputs, dtype=torch.float32)).detach().numpy()[:, 0]
    np.testing.assert_allclose(
        prediction.predict(read.read(tmp_path / "net").model, inputs), framework_predictions, atol=1e-5
    )


@pytest.mark.parametrize("output", [2, "value"])
def test_output_selects_a_value_of_several_tensors(output: Any, tmp_path: Path) -> None:
    bundle = assert_same_everywhere(randomize(TwoTensors()), tmp_path, output=output)
    assert len(bundle.model.layers) == 2


@pytest.mark.parametrize(("output", "columns"), [("mean", [0, 1, 2]), ("hidden", [0, 1])])
def test_output_is_a_mean(output: str, columns: list[int], tmp_path: Path) -> None:
    module = randomize(TwoTensors()).eval()
    bundle = assert_same_everywhere(module, tmp_path, output=output)
    inputs = rows().dropna()[list(NAMES)].to_numpy()
    values = module(torch.tensor(inputs, dtype=torch.float32))
    outputs = torch.cat([values["hidden"], values["value"][:, None]], dim=1).detach().numpy()[:, columns]
    np.testing.assert_allclose(prediction.predict(bundle.model, inputs), outputs.mean(axis=1), atol=1e-5)
    with pytest.raises(
        errors.ExportError, match="expected an integer from 0 to 2, 'mean' or one of the keys hidden, v"
    ):
        export(module, tmp_path / "other", sample=rows(), output="values")


class TwoInputs(nn.Module):
    """Takes two tensors."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


class Gate(nn.Module):
    """A hand-written gate: one half times the sigmoid of the other."""

    def __init__(self) -> None:
        super().__init__()
        self.l = nn.Linear(INPUTS, 4)

    def forward(self, x: torch.Tensor) -> Any:
        h = self.l(x)
        return h[:, :2] * torch.sigmoid(h[:, 2:])


class Branching(nn.Module):
    """Branches on the input's values."""

    def forward(self, x: torch.Tensor) -> Any:
        return x[:, :1] if x.sum() > 0 else x[:, 1:2]


class Nested(nn.Module):
    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(INPUTS, 8), nn.ReLU(), nn.Unflatten(1, (1, 8)), part)
        self.end = nn.LazyLinear(1)

    def forward(self, x: torch.Tensor) -> Any:
        return self.end(self.net(x).flatten(1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.core = nn.LSTM(INPUTS, 4, batch_first=True)
        self.end = nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> Any:
        return self.end(self.core(x.unsqueeze(1))[0][:, -1])


UNSUPPORTED: list[tuple[Callable[[], nn.Module], str]] = [
    (lambda: Nested(nn.Conv1d(1, 2, 3)), r"Conv1d at `net\.3` cannot be expressed in a bundle; see docs"),
    (Recurrent, r"LSTM at `core`"),
    (lambda: nn.Sequential(nn.Linear(6, 4), nn.GLU(), nn.Linear(2, 1)), r"GLU at `1`"),
    (lambda: nn.Sequential(Gate(), nn.Linear(2, 1)), r"`mul` in Gate at `0` multiplies values that both depend"),
    (
        lambda: nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 1)),
        r"BatchNorm1d at `1` has no running statistics",
    ),
    (lambda: Applies(lambda x: functional.dropout(x, 0.5)), r"in Applies at the top of the model drops values even in"),
    (lambda: Applies(lambda x: x - x.mean(0)), r"`mean` in Applies at the top of the model is over the rows"),
    (lambda: Applies(lambda x: x.flip(0)), r"`flip` in Applies .* mixes rows"),
    (lambda: Applies(lambda x: x.round()), r"`round` in Applies .* cannot be expressed"),
    (lambda: Applies(lambda x: 1 / (x + 1)), r"divides by values that depend on the inputs|cannot be expressed"),
    (lambda: Applies(lambda x: x.half().to(x.dtype)), r"in Applies .* rounds to half precision"),
    (lambda: Applies(lambda x: x**3), r"`pow` in Applies .* has an exponent other than 1 and 2"),
    (lambda: Applies(lambda x: torch.cat([x, torch.ones(len(x), 1)], 1), 7), r"puts constants among the values"),
    (Branching, r"Branching cannot be traced by torch\.export"),
    (TwoInputs, r"forward of TwoInputs does not take one tensor"),
    (lambda: nn.Linear(INPUTS + 1, 1), r"Linear cannot predict rows of the sample, with 6 inputs each"),
    (
        lambda: nn.Sequential(nn.LazyLinear(2), nn.Linear(2, 1)),
        r"Sequential is not trained: `0.weight` has no size yet",
    ),
]


@pytest.mark.parametrize("index", range(len(UNSUPPORTED)))
def test_unsupported_part_is_named(index: int, tmp_path: Path) -> None:
    make, message = UNSUPPORTED[index]
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lazy modules warn that they are experimental
        module = make()
    with torch.no_grad():
        if isinstance(module, Nested):
            module(torch.zeros(2, INPUTS))
    try:  # what has no form as numbers is stored as data, with a note, or refused
        text = "\n".join(export(module, tmp_path / "net", sample=rows()).notes)
    except errors.ExportError as error:
        text = str(error)
    assert re.search(message, text)


def test_skorch_net(tmp_path: Path) -> None:
    import skorch

    x = np.nan_to_num(rows()[list(NAMES)].to_numpy(), nan=2.0).astype(np.float32)
    y: NDArray[np.float32] = (x[:, :1] - x[:, 1:2]).astype(np.float32)
    net = skorch.NeuralNetRegressor(
        nn.Sequential(nn.Linear(INPUTS, 4), nn.Tanh(), nn.Linear(4, 1)), max_epochs=2, verbose=0, train_split=None
    )
    with pytest.raises(errors.ExportError, match="NeuralNetRegressor is not trained; fit it"):
        export(net, tmp_path / "net", sample=rows())
    net.fit(x, y)
    bundle = assert_same_everywhere(net, tmp_path)
    assert bundle.trained["wrapper"] == "skorch"
    np.testing.assert_allclose(
        prediction.predict(bundle.model, x.astype(np.float64)), net.predict(x)[:, 0], rtol=1e-4, atol=1e-5
    )


def test_skorch_classifier_predicts_its_probability(tmp_path: Path) -> None:
    import skorch

    x = np.nan_to_num(rows()[list(NAMES)].to_numpy(), nan=2.0).astype(np.float32)
    module = nn.Sequential(nn.Linear(INPUTS, 4), nn.ReLU(), nn.Linear(4, 1), nn.Flatten(0))
    net = skorch.NeuralNetBinaryClassifier(module, max_epochs=2, verbose=0, train_split=None)
    net.fit(x, (x[:, 0] > 2).astype(np.float32))
    bundle = assert_same_everywhere(net, tmp_path, output=1)
    np.testing.assert_allclose(
        prediction.predict(bundle.model, x.astype(np.float64)), net.predict_proba(x)[:, 1], rtol=1e-4, atol=1e-5
    )


def test_lightning_module(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing it warns
        import pytorch_lightning as lightning

    class Net(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(INPUTS, 4), nn.ReLU(), nn.Linear(4, 1))
            self.save_hyperparameters()

        def forward(self, x: torch.Tensor) -> Any:
            return self.net(x)

    module = randomize(Net())
    bundle = assert_same_everywhere(module, tmp_path)
    assert bundle.trained["wrapper"] == "pytorch_lightning"
