"""A model as numbers, without code: ``bundle.json``, ``arrays.safetensors``, ``golden.safetensors``; a folder or a zip.

====================== ==========================================================================================
``bundle.model``       the types: ``Bundle``, ``Mlp``, ``Node``, ``Golden``, ``parameters``; shapes and dtypes
``bundle.activations`` ``Activation``: names and constants
``bundle.write``       ``write(path, bundle)``, a folder or ``NAME.bundle.zip``, with an example
``bundle.read``        ``read(folder)``: every check, all faults at once
``bundle.store``       ``folder_of(path, cache)``: the folder of a zip, unpacked once
``bundle.files``       ``content_hash(folder)``, without numpy
====================== ==========================================================================================

``bundle.kinds`` is where a further kind of model is added.
"""
