"""Refusals: what the library says where it was given something that it cannot use.

Each says what was expected, what came, and what to write instead; and each is also the built-in
exception of its kind, so that `except ValueError` catches what it should. That an exception is a
`Refusal` tells it apart from one that the user's own code raised.
"""


class Refusal(Exception):
    """Something the library was given cannot be used; the message says what to write instead.

    Attributes:
        case: what is the case: the message up to its first full stop or semicolon.
        remedy: what to write instead: the rest of it.
    """

    @property
    def case(self) -> str:
        """What was expected, and what came."""
        return self._parts()[0]

    @property
    def remedy(self) -> str:
        """What to write instead; "" where the message does not say."""
        return self._parts()[1]

    def _parts(self) -> tuple[str, str]:
        message = " ".join(str(self).split())
        for mark in (". ", "; "):
            case, _, instead = message.partition(mark)
            if instead and not instead.startswith("got "):
                return case, instead
        return message, ""


class RefusedValue(Refusal, ValueError):
    """A value, shape or name that cannot be used."""


class RefusedType(Refusal, TypeError):
    """An object of a kind that cannot be used."""


class RefusedOperation(Refusal, NotImplementedError):
    """Something that does not exist for this structure, such as a density."""


class RefusedNumbers(Refusal, FloatingPointError):
    """Numbers that are not finite where they must be."""


class RefusedFile(Refusal, OSError):
    """A file or folder that cannot be read or written."""


class MissingFile(RefusedFile, FileNotFoundError):
    """A file that is not there."""


class BusyFolder(Refusal, RuntimeError):
    """A folder in which another process is at work."""
