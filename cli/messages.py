"""What the command line says on stderr."""

import sys


def report(message: object) -> None:
    """One line on stderr."""
    print(f"pixwizard: error: {' '.join(str(message).split())}", file=sys.stderr)
