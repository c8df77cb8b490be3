"""Everything that bbcodec raises on purpose: one base class, and one exit code for each kind of failure.

Three causes stay apart: a wrong call or a bad input (codes 3 to 9), a damaged or foreign file (10 to 19), and a fault
of bbcodec or of the machine it runs on (20 and up). Code 2 is a wrong command line and 130 an interrupt. Messages are
one line: what, where, what was expected, what to do.
"""

from __future__ import annotations


class BBCodecError(Exception):
    """Base of all errors of bbcodec; the command line prints its message in one line and leaves with `exit_code`."""

    exit_code = 1


class InputError(BBCodecError):
    """An input that cannot be used: missing, unreadable, empty, or of a kind that the call does not take."""

    exit_code = 3


class TargetExists(BBCodecError):
    """The target is there already, and overwriting was not asked for."""

    exit_code = 4


class OutputError(BBCodecError):
    """The target cannot be written: no such folder, no permission, no space."""

    exit_code = 5


class NoSuchName(BBCodecError, KeyError):
    """A name that the archive does not hold."""

    exit_code = 6

    def __str__(self) -> str:
        return Exception.__str__(self)  # KeyError would show the repr, in quotes


class MissingCodec(BBCodecError):
    """The codec that was named, or that an archive needs, is not installed and not a file."""

    exit_code = 7


class NotAnArchive(BBCodecError):
    """The file is not a bbcodec archive at all."""

    exit_code = 10


class DamagedArchive(BBCodecError):
    """An archive that was cut or changed: a checksum, a length or a digest is wrong."""

    exit_code = 11


class UnsupportedVersion(BBCodecError):
    """A file of a format version that this version of bbcodec does not read."""

    exit_code = 12


class UnsafePath(BBCodecError):
    """A name in an archive that would be written outside the target folder."""

    exit_code = 13


class BadCodecFile(BBCodecError):
    """A codec file that is not one, is damaged, or breaks the bounds of exact arithmetic."""

    exit_code = 14


class CoderError(BBCodecError, ValueError):
    """Words that are not a message, or a symbol that cannot be coded."""

    exit_code = 15


class StackUnderflow(CoderError):
    """A pop needed more bits than the stack holds."""

    exit_code = 16


class VerificationFailed(BBCodecError):
    """What was just written does not decode to what was read: nothing was kept."""

    exit_code = 20


class InexactArithmetic(BBCodecError):
    """This device does not compute what the codec's known-answer test asks for, not even on the safe path."""

    exit_code = 21


class TrainingDiverged(BBCodecError):
    """Training was rolled back to its last checkpoint, and the loss was lost again."""

    exit_code = 22
