"""The source of every pickle that this tool builds.

The files that a kind uses, and the files that they import from here, are compiled into one namespace
(``builder.inside.source``). So what one file imports from another is already defined in the pickle, and two files must
not define the same name.

Rules for this folder: no classes, no set literals, no submodules that are found by attribute, because each makes the
pickle's bytes differ from run to run or needs code that the image does not have. The code must run on Python 3.10 and
numpy 1.26.
"""
