"""Known-answer tests of a few pixels, for tests of anything else: a network takes a second for those of codecs."""

from contextlib import contextmanager, nullcontext

import pytest

from bbcodec.codec import file, known_answers

FEW = ((1, 10, 14), (4, 4, 4), (8, 2, 2))


@contextmanager
def small_answers():
    """For codecs that are saved here, until this ends. What others saved, such as shipped codecs, needs the whole."""
    made = []

    def answers(*about):
        with few_pixels():
            made.append(known_answers.answers(*about))
        return made[-1]

    def difference(backend, pixels, expected, *before):
        with few_pixels() if expected in made else nullcontext():
            return known_answers.difference(backend, pixels, expected, *before)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file, "answers", answers)
        patch.setattr(file, "difference", difference)
        yield


@contextmanager
def few_pixels():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known_answers, "KNOWN_ANSWERS", FEW)
        yield
