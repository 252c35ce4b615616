"""A sandbox of the tournament on this machine: its API, its storage, a registry, and a runner of what is uploaded.

It shares no code with what it stands in for, so that a mistake is not made twice: it has its own client of the engine.
"""
