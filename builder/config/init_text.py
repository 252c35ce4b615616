"""The text of a config that ``init`` writes: every key that matters, each with what it means. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder import secret_scan
from builder.bundle import post
from builder.bundle.kinds import catalog as kinds
from builder.config import model as config
from builder.config import strict_yaml
from builder.config import values as config_values
from builder.text import escape, format_list

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.bundle import model as bundle_model
    from builder.config.feature_match import Match

REFERENCE = config_values.DEFAULT_IMAGE
"""The image that the tournament runs a pickle in unless another is asked for, in 2026."""

_WIDTH = 110
_MOST_STEPS = strict_yaml.MAX_BYTES // 2


@dataclass(frozen=True, kw_only=True)
class PostSection:
    """The ``post`` section.

    Attributes:
        lines: Of the file.
        note: What a person should know; empty where there is nothing.
    """

    lines: tuple[str, ...]
    note: str = ""


def render(
    bundle: bundle_model.Bundle, *, name: str, path: str, match: Match, steps: PostSection, has_schema: bool
) -> str:
    """Return the text of a config.

    Args:
        bundle: What it is for.
        name: Of the config.
        path: Of the bundle, relative to the config.
        match: What the features are.
        steps: What is done to the predictions.
        has_schema: Whether ``schema.json`` lies beside it.
    """
    plain = config.ValidateConfig()
    version = match.data_version or config.Config.data_version
    limits = {
        "cpus": plain.limits.cpus if plain.limits.cpus % 1 else int(plain.limits.cpus),
        "memory": config_values.write_memory(plain.limits.memory),
        "seconds": plain.limits.seconds,
    }
    why = "" if match.data_version else "  # nothing told which; that of the live data"
    lines = [
        *(["# yaml-language-server: $schema=schema.json"] if has_schema else []),
        "# Written by `init`: what could be found out is filled in. Change what you like: each use checks it.",
        *(f"# {line}" for line in about(bundle)),
        f"# {match.text}",
        f"name: {strict_yaml.flow(name)}",
        "image:",
        "  # What makes the pickle and what runs it: what the tournament names, kept by its digest in",
        "  # builder.lock.yaml once it was asked for. Or another one by tag or digest (`images` lists them).",
        f"  ref: {REFERENCE}",
        f"bundle: {strict_yaml.flow(path)}  # relative to this file; or {{url: https://..., sha256: ...}}",
        *steps.lines,
        f"data_version: {version}{why}",
        "validate:",
        "  data: shaped  # made in the shape of live data; or {live: a.parquet, benchmarks: b.parquet}",
        f"  rows: {plain.rows}",
        f"  limits: {strict_yaml.flow(limits)}  # the tournament's",
        "# upload:",
        "#   model: my_slot  # the slot's name, or its id",
    ]
    return "\n".join(lines) + "\n"


def about(bundle: bundle_model.Bundle) -> list[str]:
    """Return what a bundle holds, a line each."""
    count = kinds.count_parameters(bundle.model)
    lines = [
        f"The model: {kinds.get_kind_name(bundle.model)}, {len(bundle.features):,} features, {count:,} parameters."
    ]
    if bundle.benchmarks:
        names = format_list([escape(name) for name in bundle.benchmarks])
        lines.append(f"Benchmark columns that it takes: {names}.")
    facts = bundle.trained
    told = [f"{facts[key]}" for key in ("framework", "version") if isinstance(facts.get(key), str)]
    eras = facts.get("eras")
    trained = [f"with {' '.join(told)}"] if told else []
    trained += [f"for {facts['target']}"] if isinstance(facts.get("target"), str) else []
    if isinstance(eras, tuple) and eras:
        trained.append(f"on {len(eras):,} eras ({eras[0]} to {eras[-1]})" if len(eras) > 1 else f"on era {eras[0]}")
    if trained:
        lines.append(escape(f"Trained {', '.join(trained)}."[:300]))
    return lines


def steps_of(bundle: bundle_model.Bundle) -> PostSection:
    """Return the ``post`` section for a bundle: its own list, made to bound the predictions where it does not."""
    data = post.as_data(bundle.post)
    fault = post.find_range_problem(bundle.post, model_bounded=kinds.is_bounded(bundle.model))
    why = (fault or "").partition("; add")[0]
    head = "# Done to the predictions, in this order, instead of the bundle's own list"
    lines = [line for step in data for line in _step(step)]
    if secret_scan.find({"post": data}, {}) or sum(map(len, lines)) > _MOST_STEPS:
        note = f"post: {why}; export the model again with a rank" if fault else ""
        return PostSection(
            lines=("# Done to the predictions: the bundle's own list, which is too long to be written here.",),
            note=note,
        )
    if fault:
        added = [f"  # Added by `init`: {why}.", *_step(post.as_data([post.make_step("rank")])[0])]
        return PostSection(lines=(f"{head}:", "post:", *lines, *added), note=f"post: a rank was added: {why}")
    if not data:
        return PostSection(lines=(f"{head}: nothing, since the model's own lie in [0, 1].", "post: []"))
    return PostSection(lines=(f"{head}, which is the same:", "post:", *lines))


def _step(step: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the lines of a step: one, or one a key with long lists broken."""
    ((name, keys),) = step.items()
    line = f"  - {name}: {strict_yaml.flow(keys)}"
    return [line] if len(line) <= _WIDTH else [f"  {row}" for row in strict_yaml.write([step]).splitlines()]
