"""A local imitation of the tournament: its API, its storage, an image registry, and runs of uploaded pickles.

It shares no code with the parts of the tool that it tests, so that a mistake is not made on both sides: it even has its
own client for the container engine.
"""
