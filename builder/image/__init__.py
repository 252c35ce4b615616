"""The runner image: which one is meant, pinned, or a look-alike of it."""
