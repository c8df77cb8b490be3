"""The errors of bbcodec: one base class, and an exit code for each.

Codes separate three causes: a wrong call or bad input (3 to 9), a file that is damaged, foreign, or not to be read here
(10 to 19), and a failure of bbcodec or of the machine (20 and up). Code 2 is a wrong command line and 130 an interrupt.
A message is one line: what failed, where, what was expected, what to do.
"""

from __future__ import annotations

from typing import Final

NEEDS_PACKAGE: Final = "needs the package"  # in every message of `MissingPackage`


class BBCodecError(Exception):
    """Base class of all errors; the command line prints the message as one line and exits with `exit_code`."""

    exit_code = 1


class InputError(BBCodecError):
    """An input is missing, unreadable, empty, or not what the call takes."""

    exit_code = 3


class TargetExists(BBCodecError):
    """The target exists, and overwriting was not requested."""

    exit_code = 4


class OutputError(BBCodecError):
    """The target cannot be written: no such folder, no permission, no space left."""

    exit_code = 5


class NoSuchName(BBCodecError, KeyError):
    """A name is not in the archive."""

    exit_code = 6

    def __str__(self) -> str:
        return Exception.__str__(self)  # KeyError would quote the message


class InputChanged(BBCodecError):
    """A file changed whenever it was read: what is stored of it may never have been in it. All others are stored."""

    exit_code = 8


class InputLost(BBCodecError):
    """Files vanished, or could not be read any more, while others were stored: those are whole, these left out."""

    exit_code = 9


class MissingCodec(BBCodecError):
    """A codec that was named, or that an archive needs, is neither installed, nor embedded, nor a file."""

    exit_code = 7


class MissingPackage(MissingCodec):
    """Something needs a package that is not installed; whatever does not need it was done."""

    exit_code = 18


class NotAnArchive(BBCodecError):
    """The file is not a bbcodec archive."""

    exit_code = 10


class DamagedArchive(BBCodecError):
    """An archive was truncated or changed: a checksum, length or digest is wrong."""

    exit_code = 11


class UnsupportedVersion(BBCodecError):
    """A file has a format version that this version of bbcodec does not read."""

    exit_code = 12


class UnsafePath(BBCodecError):
    """A name in an archive would be written outside the target folder."""

    exit_code = 13


class BadCodecFile(BBCodecError):
    """A codec file is none, is damaged, or breaks the bounds of exact arithmetic."""

    exit_code = 14


class CoderError(BBCodecError, ValueError):
    """Words are not a message, or a symbol cannot be coded."""

    exit_code = 15


class StackUnderflow(CoderError):
    """A pop needs more bits than the stack holds."""

    exit_code = 16


class LimitExceeded(BBCodecError):
    """Reading an archive would take more memory, work or disk than the limits allow; nothing is wrong with it yet."""

    exit_code = 17


class VerificationFailed(BBCodecError):
    """What was written does not decode to what was read; nothing was kept."""

    exit_code = 20


class InexactArithmetic(BBCodecError):
    """This device fails the codec's known-answer test, even on the safe path."""

    exit_code = 21


class TrainingDiverged(BBCodecError):
    """Training diverged again after it was rolled back to its last checkpoint."""

    exit_code = 22
