"""`python -m sgif.cli` is `sgif`."""

import sys

from .main import main

sys.exit(main())
