"""``python -m builder`` is the same as ``numerai-builder``."""

import sys

from builder.cli import main

if __name__ == "__main__":
    sys.exit(main.main())
