"""`python -m staticflow`."""

import sys

from staticflow.cli.main import main

sys.exit(main())
