"""`python -m bayescons`, and the command of that name."""

import sys

from bayescons.extras import MissingExtraError


def main() -> int:
    """Run the command line, or say in a line which extra it lacks.

    Returns:
        Exit status, as `bayescons.cli.main`; 2 where an extra is missing.
    """
    try:
        from bayescons.cli import main as run

        return run()
    except MissingExtraError as error:
        print("error:", error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
