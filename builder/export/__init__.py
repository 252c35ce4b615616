"""Export a trained model to a bundle, where it was trained: ``export(model, "mymodel.bundle.zip", sample=X)``.

It imports only numpy, pandas and the framework of the model; also SciPy if the model needs it to predict. To add a
framework, see ``frameworks``.
"""

from __future__ import annotations

from builder.export.run import ExportResult, export

__all__ = ["ExportResult", "export"]
