"""A trained model as data, without code: ``bundle.json``, ``arrays.safetensors`` and ``golden.safetensors``.

======================== ==========================================================================================
``bundle.model``         the types: ``Bundle``, ``Network`` and the other kinds, ``GoldenRows``; shapes and dtypes
``bundle.activations``   ``Activation``: names and constants
``bundle.post``          post-processing steps
``bundle.prediction``    predictions in float64, and tolerances
``bundle.kinds.catalog`` the kinds of model; its docstring describes how to add one
``bundle.storage.write`` ``write(path, bundle)``: a folder or ``NAME.bundle.zip``, with an example
``bundle.storage.read``  ``read(folder)``: all checks, all problems at once
``bundle.storage.store`` ``resolve_folder(path, cache)``: the folder of a bundle; zips are unpacked once
``bundle.storage.files`` ``hash_bundle(folder)``, without numpy
======================== ==========================================================================================
"""
