"""Convert ensembles of scikit-learn: votes, bags, stacks and several targets become a bundle's weighted sums."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from sklearn import ensemble, linear_model, multioutput
from sklearn.base import is_classifier

from builder import errors
from builder.bundle import model as bundle_model
from builder.export import boosters
from builder.export.sklearn import estimators, expressions, steps, trees

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builder.export import conversion
    from builder.export.conversion import Array
    from builder.export.sklearn.expressions import BundleInputs, Expression

VOTES = (ensemble.VotingRegressor, ensemble.VotingClassifier)
BAGS = (ensemble.BaggingRegressor, ensemble.BaggingClassifier)
ENSEMBLES = (
    *VOTES,
    *BAGS,
    ensemble.AdaBoostClassifier,
    ensemble.AdaBoostRegressor,
    ensemble.StackingRegressor,
    multioutput.MultiOutputRegressor,
)
"""Models that predict from what their ``estimators_`` do."""


class Converter(Protocol):
    """What converts one member.

    Attributes:
        inputs: The inputs of the bundle.
        spec: The same, as the caller describes them.
    """

    @property
    def inputs(self) -> BundleInputs: ...  # noqa: D102 - see the class

    @property
    def spec(self) -> conversion.InputSpec: ...  # noqa: D102 - see the class

    def convert(self, model: Any, expression: Expression, head: estimators.Head, path: str) -> bundle_model.Model:
        """Convert a fitted object that takes the expression's values."""

    def replace_inputs(self, **changes: Any) -> Converter:
        """Return a converter for changed inputs."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Term:
    """A part of a weighted sum: the predictions of a fitted object, multiplied by a weight."""

    model: Any
    weight: float
    expression: Expression
    path: str


def convert_ensemble(
    model: Any, converter: Converter, expression: Expression, head: estimators.Head, path: str
) -> bundle_model.Model:
    """Convert one of ``ENSEMBLES``."""
    convert_as_whole = _find_function(model)
    if convert_as_whole:
        for index, member in enumerate(model.estimators_):
            steps.check_methods(member, steps.join_path(path, "member", index), "predict", "predict_proba")
        return convert_as_whole(model, expression, converter.inputs, head, path)
    if is_classifier(model):
        if not hasattr(model, "predict_proba"):
            raise errors.ExportError(
                f"{steps.describe(model, path)} counts votes and has no probabilities; train it with voting='soft'"
            )
        # Members are trained on the indices of the classes.
        values = estimators.read_class_values(model, converter.inputs, path)
        converter = converter.replace_inputs(class_values=dict(enumerate(values.tolist())))
    convert: Callable[[Any, Converter, Expression, estimators.Head, str], bundle_model.Model]
    if isinstance(model, VOTES):
        convert = _convert_vote
    elif isinstance(model, BAGS):
        convert = _convert_bag
    elif isinstance(model, ensemble.StackingRegressor):
        convert = _convert_stack
    else:
        convert = _convert_targets
    return convert(model, converter, expression, head, path)


def _find_function(
    model: Any,
) -> Callable[[Any, Expression, BundleInputs, estimators.Head, str], bundle_model.Model] | None:
    """Return the function that converts all members at once; None if each becomes a member of the bundle."""
    if isinstance(model, BAGS):
        return trees.convert_forest if _is_forest(model) else None
    if isinstance(model, ensemble.AdaBoostClassifier):
        return trees.convert_ada_boost_classifier
    if isinstance(model, ensemble.AdaBoostRegressor):
        return trees.convert_ada_boost if _is_forest(model) else estimators.convert_ada_boost
    return None


def _is_forest(model: Any) -> bool:
    """Return whether all members are decision trees, of a classifier with all of its classes."""
    return all(
        isinstance(member, trees.TREES) and getattr(member, "n_classes_", 0) == getattr(model, "n_classes_", 0)
        for member in model.estimators_
    )


def _convert_vote(
    model: Any, converter: Converter, expression: Expression, head: estimators.Head, path: str
) -> bundle_model.Model:
    # estimators_ has only the members that are not dropped, but weights has one for each of estimators.
    is_kept = [not (isinstance(member, str) and member == "drop") for _, member in model.estimators]
    names = [name for (name, _), kept in zip(model.estimators, is_kept, strict=True) if kept]
    weights = [1.0] * len(names)
    if model.weights is not None:
        weights = [float(weight) for weight, kept in zip(model.weights, is_kept, strict=True) if kept]
    terms = [
        _Term(model=fitted, weight=weight, expression=expression, path=steps.join_path(path, "member", name))
        for name, fitted, weight in zip(names, model.estimators_, weights, strict=True)
    ]
    return _convert_sum(steps.describe(model, path), terms, converter, head, divisor=sum(weights))


def _convert_bag(
    model: Any, converter: Converter, expression: Expression, head: estimators.Head, path: str
) -> bundle_model.Model:
    if not all(hasattr(member, "predict_proba") for member in model.estimators_) and is_classifier(model):
        raise errors.ExportError(
            f"{steps.describe(model, path)} counts the votes of members without probabilities, which a bundle does not "
            f"support; train it on an estimator with predict_proba, or {steps.ADVICE}"
        )
    terms = [
        _Term(
            model=member,
            weight=1.0,
            expression=expressions.select(expression, np.asarray(columns, dtype=np.intp)),
            path=steps.join_path(path, "member", index),
        )
        for index, (member, columns) in enumerate(zip(model.estimators_, model.estimators_features_, strict=True))
    ]
    return _convert_sum(steps.describe(model, path), terms, converter, head, divisor=len(terms))


def _convert_stack(
    model: Any, converter: Converter, expression: Expression, head: estimators.Head, path: str
) -> bundle_model.Model:
    names = [name for name, member in model.estimators if not (isinstance(member, str) and member == "drop")]
    count = len(names)
    width = count + (expressions.get_width(expression) if model.passthrough else 0)
    weights, bias = _read_final_estimator(model, width, converter, path)
    terms = [
        _Term(model=fitted, weight=float(weight), expression=expression, path=steps.join_path(path, "member", name))
        for name, fitted, weight in zip(names, model.estimators_, weights, strict=False)
    ]
    if model.passthrough:
        line = linear_model.LinearRegression()
        line.coef_, line.intercept_, line.n_features_in_ = weights[count:], 0.0, width - count
        terms.append(_Term(model=line, weight=1.0, expression=expression, path=path))
    return _convert_sum(steps.describe(model, path), terms, converter, head, divisor=1.0, bias=bias)


def _read_final_estimator(model: Any, width: int, converter: Converter, path: str) -> tuple[Array, float]:
    """Return the weights of a stack's members, and the bias, from its final estimator, which may be a pipeline."""
    path = steps.join_path(path, "part", "final_estimator")
    inputs = converter.replace_inputs(
        names=tuple(f"member_{index}" for index in range(width)),
        imputation=np.zeros(width),
        caller_imputed=np.zeros(width, dtype=bool),
    )
    start = expressions.InputColumns(sources=np.arange(width), imputation=np.full(width, np.nan))
    final = inputs.convert(model.final_estimator_, start, (), path)
    if not isinstance(final, bundle_model.Linear) or final.activation.name != "identity":
        raise errors.ExportError(
            f"{steps.describe(model.final_estimator_, path)} is not linear, but a bundle only adds up the predictions "
            f"of members; train with a linear final_estimator=, or {steps.ADVICE}"
        )
    weights: Array = final.weights.astype(np.float64) / final.scale
    return weights, float(final.bias[0] - final.centre @ weights)


def _convert_targets(
    model: Any, converter: Converter, expression: Expression, head: estimators.Head, path: str
) -> bundle_model.Model:
    """Convert a MultiOutputRegressor, which has a model for each target."""
    output, count = converter.inputs.output, len(model.estimators_)
    if output is None:
        raise estimators.multiple_outputs_error(model, path)
    boosters.check_output(count, output)
    members = [steps.join_path(path, "output", index) for index in range(count)]
    converter = converter.replace_inputs(output=None)
    if output != "mean":
        return converter.convert(model.estimators_[output], expression, head, members[output])
    terms = [
        _Term(model=member, weight=1.0, expression=expression, path=member_path)
        for member, member_path in zip(model.estimators_, members, strict=True)
    ]
    return _convert_sum(steps.describe(model, path), terms, converter, head, divisor=count)


def _convert_sum(
    description: str,
    terms: Sequence[_Term],
    converter: Converter,
    head: estimators.Head,
    *,
    divisor: float,
    bias: float = 0.0,
) -> bundle_model.Linear | bundle_model.Ensemble:
    """Convert ``sum(weight * prediction) / divisor + bias``, then the head.

    A bundle divides the sum by that of the weights' magnitudes. If that is not what the ensemble does, each member gets
    an affine node, and they are averaged.
    """
    gain, shift = _merge_affine_head(head, description)
    terms = [term for term in terms if term.weight] or list(terms[:1])  # a bundle's member must have a weight
    is_mean = not head and not bias and divisor == sum(abs(term.weight) for term in terms)
    members: list[bundle_model.Member] = []
    for term in terms:
        nodes: estimators.Head = ()
        if not is_mean:
            factor = len(terms) * term.weight / divisor * gain
            nodes = (bundle_model.make_node("affine", gain=np.array([factor]), shift=np.array([bias * gain + shift])),)
        converted = converter.convert(term.model, term.expression, nodes, term.path)
        weight = term.weight if is_mean else 1.0
        if isinstance(converted, bundle_model.Ensemble):  # its members become members of this one
            total = sum(abs(member.weight) for member in converted.members)
            members += [
                dataclasses.replace(member, weight=weight * member.weight / total) for member in converted.members
            ]
            continue
        members.append(
            bundle_model.Member(
                model=cast("bundle_model.Single", converted),
                features=converter.spec.features,
                benchmarks=converter.spec.benchmarks,
                weight=weight,
            )
        )
    members = _merge_linear(members)
    merged = members[0].model
    if len(members) == 1 and members[0].weight > 0 and isinstance(merged, bundle_model.Linear):
        return merged
    return bundle_model.Ensemble(members=tuple(members))


def _merge_linear(members: Sequence[bundle_model.Member]) -> list[bundle_model.Member]:
    """Merge linear models that impute the same: each member of an ensemble reads all of its inputs again."""
    others: list[bundle_model.Member] = []
    groups: dict[bytes, list[tuple[bundle_model.Member, bundle_model.Linear]]] = {}
    for member in members:
        model = member.model
        if isinstance(model, bundle_model.Linear) and model.activation.name == "identity":
            groups.setdefault(model.imputation.tobytes(), []).append((member, model))
        else:
            others.append(member)
    for group in groups.values():
        first, total = group[0][0], sum(abs(member.weight) for member, _ in group)
        if len(group) == 1:
            others.append(first)
            continue
        weights, bias = np.zeros_like(group[0][1].weights, dtype=np.float64), np.zeros(1)
        for member, model in group:
            scaled = model.weights / model.scale
            weights += member.weight / total * scaled
            bias += member.weight / total * (model.bias - model.centre @ scaled)
        line = dataclasses.replace(
            group[0][1], weights=weights, bias=bias, centre=np.zeros(len(weights)), scale=np.ones(len(weights))
        )
        others.append(dataclasses.replace(first, model=line, weight=total))
    return others


def _merge_affine_head(head: estimators.Head, description: str) -> tuple[float, float]:
    """Return the factor and the shift that affine nodes amount to."""
    gain, shift = 1.0, 0.0
    for node in head:
        if node.op != "affine" or node.activation.name != "identity":
            raise errors.ExportError(
                f"{description} is inside a TransformedTargetRegressor that is not linear, which a bundle does not "
                f"support; put one around each member, or {steps.ADVICE}"
            )
        gain, shift = gain * float(node["gain"][0]), shift * float(node["gain"][0]) + float(node["shift"][0])
    return gain, shift
