"""``python -m builder`` is the same as ``numerai-builder``."""

from builder.cli import main

if __name__ == "__main__":
    main.run()
