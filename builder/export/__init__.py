"""From a trained model to a bundle, where it was trained: ``export(model, "mymodel.bundle.zip", sample=X)``.

Imports nothing but numpy, pandas and the framework of the model it is given; SciPy where the model takes it to predict.
A framework is a module here that has what ``frameworks.Framework`` declares, and a line in ``known.MODULES``.
"""

from __future__ import annotations

from builder.export.run import Exported, export

__all__ = ["Exported", "export"]
