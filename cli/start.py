"""Where the `kopitra` script begins: Ctrl-C is an ordinary end from the first moment, before anything is loaded."""

import sys


def main() -> None:
    """Run the command line; exit code 130 when it is interrupted."""
    try:
        from cli.main import app  # takes most of a second

        app()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
