"""The source of every pickle this tool makes.

The files a kind needs, and those that they import from here, are compiled into one namespace
(``builder.inside.source``), so what one file imports from another is, in the pickle, simply there. In this folder
hold: no classes, no set literals, no submodules found by attribute (each makes a pickle's bytes differ from run to run,
or needs code that the image lacks), Python 3.10 and numpy 1.26 as the oldest to work on.
"""
