"""Registers the functions of the kinds and of the post-processing steps by name."""

from __future__ import annotations

from typing import Any

# By kind. Each takes (model, live_features, live_benchmark_models) and returns predictions before post-processing:
# float64 (rows,).
RUNNERS: dict[str, Any] = {}

# By step. Each takes (values, options, live_features, live_benchmark_models) and returns float64 (rows,).
#
# To add a step NAME, write NAME.py: its function, registered here, and the literal NAME_STEP, which the host reads from
# the file (``inside.source.read_steps``) for configs, bundles, the JSON schema and the documentation. Its keys:
#   text     what the step does, in a sentence
#   range    the range of its results: "unit", in [0, 1]; "kept", in [0, 1] if its input is; "any"; a list of two
#            options, which are the bounds; or an option and the range for each of its values
#   one_of   options of which exactly one must be given (optional)
#   options  by name: "text", "default" (an option without it is required), and "type":
#            scope (era or frame, era by default), choice ("choices"), number ("minimum" to "maximum"), features and
#            benchmarks (lists of columns), benchmark (a column), group (a feature set, replaced by its features)
STEPS: dict[str, Any] = {}
