"""`python -m gensr_dist` is `gensr`."""

import sys

from gensr_dist.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
