"""``python -m flowrl``: the same as the command ``flowrl``."""

import sys

from flowrl.cli import main

sys.exit(main())
