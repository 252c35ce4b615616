"""Where the files of each kind and of each post-processing step enter what they do."""

from __future__ import annotations

from typing import Any

# By kind: from (model, live_features, live_benchmark_models) to float64 (rows,), before post-processing.
RUNNERS: dict[str, Any] = {}

# By step: from (values, options, live_features, live_benchmark_models) to float64 (rows,).
STEPS: dict[str, Any] = {}
