"""`python -m gensr_dist` is `gensr`."""

import sys


def start() -> int:
    """Run one command, see `cli.main`; an interrupt while that is imported ends it like any other."""
    try:
        from gensr_dist.cli.main import main
    except KeyboardInterrupt:
        print("gensr: error: interrupted; nothing was begun", file=sys.stderr)
        return 130
    return main()


if __name__ == "__main__":
    sys.exit(start())
