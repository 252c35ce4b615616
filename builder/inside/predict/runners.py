"""Where the files of each kind and of each post-processing step enter what they do."""

from __future__ import annotations

from typing import Any

# By kind: from (model, live_features, live_benchmark_models) to float64 (rows,), before post-processing.
RUNNERS: dict[str, Any] = {}

# By step: from (values, options, live_features, live_benchmark_models) to float64 (rows,).
#
# A step NAME is all in NAME.py: its function, entered here, and the literal NAME_STEP, which the host reads from the
# file (``inside.source.read_steps``) for configs, bundles, the JSON schema and the documentation. It has
#   text     what the step does, in a sentence
#   range    where its results lie: "unit", in [0, 1]; "kept", in [0, 1] if what it is given does; "any"; two options
#            that are the ends; or an option and, by its value, one of the three words
#   one_of   options of which exactly one is given (may be left out)
#   options  by name: "text", "default" (without one it must be given), and "type":
#            scope (era or frame, by default era), choice ("choices"), number ("minimum" to "maximum"), features, benchmarks
#            (lists of columns), benchmark (a column), group (a feature set, whose names become the option features)
STEPS: dict[str, Any] = {}
