"""The program `claimscale`. Ctrl-C is handled from the first moment, before any library is imported."""

from __future__ import annotations

import sys

from claimscale.command_line import end_at_second_interrupt


def main() -> None:
    """Entry point: every error is one clear line and an exit code."""
    end_at_second_interrupt()
    from claimscale import cli

    sys.exit(cli.call(sys.argv[1:]))


if __name__ == "__main__":
    main()
