"""Render the text of the config that ``init`` writes, with a comment for each key that needs one. Pure."""

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
"""``image.ref`` of a new config."""

_WIDTH = 110
_SCHEMA_COMMENT = "# yaml-language-server: $schema=schema.json"
_COMMENTED_SLOT = ("# upload:", "#   model: my_slot  # the slot's name, or its id")
_MAX_STEPS_LENGTH = strict_yaml.MAX_BYTES // 2  # leaves the rest of the config enough of the limit


@dataclass(frozen=True, kw_only=True)
class PostSection:
    """The ``post`` section.

    Attributes:
        lines: Its lines in the file.
        note: A message for the user, or empty.
    """

    lines: tuple[str, ...]
    note: str = ""


def render(
    bundle: bundle_model.Bundle, *, name: str, path: str, match: Match, steps: PostSection, has_schema: bool
) -> str:
    """Return the text of a config.

    Args:
        bundle: The bundle.
        name: Of the config.
        path: Of the bundle, relative to the config.
        match: The feature set of the bundle's features.
        steps: The ``post`` section.
        has_schema: Whether there is a ``schema.json`` beside the config.
    """
    version = match.data_version or config.Config.data_version
    version_comment = "" if match.data_version else "  # unknown: the default is used"
    lines = [
        *([_SCHEMA_COMMENT] if has_schema else []),
        "# Written by `init`, filled in from the bundle. You may edit it: every command checks it.",
        *(f"# {line}" for line in describe_bundle(bundle)),
        f"# {match.text}",
        f"name: {strict_yaml.write_flow(name)}",
        "image:",
        "  # The image that builds and runs the pickle: the tournament's default, pinned by its digest at the first",
        "  # use, in builder.lock.yaml. Or another one by tag or digest (`images` lists them).",
        f"  ref: {REFERENCE}",
        f"bundle: {strict_yaml.write_flow(path)}  # relative to this file; or {{url: https://..., sha256: ...}}",
        *steps.lines,
        f"data_version: {version}{version_comment}",
        *_render_validate(),
        *_COMMENTED_SLOT,
    ]
    return "\n".join(lines) + "\n"


def render_adopted(adopted: config.Config, *, path: str, has_schema: bool) -> str:
    """Return the text of the config of a finished pickle; ``path``: of the pickle, relative to the config."""
    image, slot = adopted.image, adopted.upload.model if adopted.upload else None
    lines = [
        *([_SCHEMA_COMMENT] if has_schema else []),
        "# Written by `adopt` for a finished pickle. You may edit it: every command checks it.",
        f"name: {strict_yaml.write_flow(adopted.name)}",
        "image:",
        "  # The image that runs the pickle; it needs the Python that made it.",
        f"  ref: {strict_yaml.write_flow(image.ref)}",
        *([f"  stand_in: {strict_yaml.write_flow(image.stand_in)}"] if image.stand_in else []),
        f"pickle: {strict_yaml.write_flow(path)}  # relative to this file; its bytes are not changed",
        f"data_version: {strict_yaml.write_flow(adopted.data_version)}",
        *_render_validate(),
        *(["upload:", f"  model: {strict_yaml.write_flow(slot)}"] if slot else _COMMENTED_SLOT),
    ]
    return "\n".join(lines) + "\n"


def _render_validate() -> list[str]:
    defaults = config.ValidateConfig()
    limits = {
        "cpus": defaults.limits.cpus if defaults.limits.cpus % 1 else int(defaults.limits.cpus),
        "memory": config_values.format_memory(defaults.limits.memory),
        "seconds": defaults.limits.seconds,
    }
    return [
        "validate:",
        "  data: shaped  # generated; or live, or {live: a.parquet, benchmarks: b.parquet}",
        f"  rows: {defaults.rows}",
        f"  limits: {strict_yaml.write_flow(limits)}  # the tournament's",
    ]


def describe_bundle(bundle: bundle_model.Bundle) -> list[str]:
    """Return what is known about a bundle's model, for comments of one line each."""
    count = kinds.count_parameters(bundle.model)
    lines = [
        f"The model: {kinds.get_kind_name(bundle.model)}, {len(bundle.features):,} features, {count:,} parameters."
    ]
    if bundle.benchmarks:
        names = format_list([escape(name) for name in bundle.benchmarks])
        lines.append(f"Benchmark columns among its inputs: {names}.")
    facts = bundle.trained
    framework = [f"{facts[key]}" for key in ("framework", "version") if isinstance(facts.get(key), str)]
    eras = facts.get("eras")
    trained = [f"with {' '.join(framework)}"] if framework else []
    trained += [f"for {facts['target']}"] if isinstance(facts.get("target"), str) else []
    if isinstance(eras, tuple) and eras:
        trained.append(f"on {len(eras):,} eras ({eras[0]} to {eras[-1]})" if len(eras) > 1 else f"on era {eras[0]}")
    if trained:
        # Facts are any text from the training script; a line break in one would end the comment.
        lines.append(escape(f"Trained {', '.join(trained)}."[:300]))
    return lines


def choose_steps(bundle: bundle_model.Bundle) -> PostSection:
    """Return the ``post`` section for a bundle: its own steps, and a rank if they do not bound the predictions."""
    data = post.as_data(bundle.post)
    problem = post.find_range_problem(bundle.post, model_bounded=kinds.is_bounded(bundle.model))
    why = (problem or "").partition("; add")[0]
    head = "# Post-processing steps, in this order; they replace the bundle's own list"
    lines = [line for step in data for line in _format_step(step)]
    # A config is committed and shown in pull requests; a secret must not get there through a name in a bundle.
    if secret_scan.find({"post": data}, {}) or sum(map(len, lines)) > _MAX_STEPS_LENGTH:
        note = f"post: {why}; export the model again with a rank" if problem else ""
        return PostSection(
            lines=("# Post-processing steps: the bundle's own list, which is too long to be written here.",),
            note=note,
        )
    if problem:
        added = [f"  # Added by `init`: {why}.", *_format_step(post.as_data([post.make_step("rank")])[0])]
        return PostSection(lines=(f"{head}:", "post:", *lines, *added), note=f"post: added a rank step: {why}")
    if not data:
        return PostSection(lines=(f"{head}: none, since the model's predictions are in [0, 1].", "post: []"))
    return PostSection(lines=(f"{head}, which is the same:", "post:", *lines))


def _format_step(step: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the lines of a step: one, or one per key with long lists broken, if it is too long."""
    ((name, keys),) = step.items()
    line = f"  - {name}: {strict_yaml.write_flow(keys)}"
    return [line] if len(line) <= _WIDTH else [f"  {row}" for row in strict_yaml.write([step]).splitlines()]
