"""The two ways a command can fail, each with its exit code."""


class BadInput(Exception):
    """Something the user gave cannot be used: one line naming the cause and the place. Exit code 2."""

    exit_code = 2


class Interrupted(Exception):
    """Work stopped before its end and a rerun of the same command resumes it. Exit code 3."""

    exit_code = 3
