"""From a trained model to a bundle, where it was trained: ``export(model, "mymodel.bundle.zip", sample=X)``.

Imports no framework but that of the model it is given, no engine and nothing of Docker. A framework is a module here
with two functions, and a line in ``frameworks.MODULES``::

    feature_names(model) -> tuple[str, ...] | None    # the names that the object itself knows, in its inputs' order
    translate(model, given) -> Translated             # the object in this tool's terms
"""

from __future__ import annotations

from builder.export.run import Exported, export

__all__ = ["Exported", "export"]
