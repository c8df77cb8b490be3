"""Random streams: one for each seed, purpose and number."""

from bbcodec.models.training.random_streams import Purpose, generator


def test_draws_for_different_purposes_are_different():
    first = {generator(seed, purpose, number).random() for seed in (0, 1) for purpose in Purpose for number in (0, 1)}
    assert len(first) == 16


def test_a_stream_can_be_repeated():
    assert generator(3, Purpose.STEP, 7).random(5).tolist() == generator(3, Purpose.STEP, 7).random(5).tolist()


def test_purposes_keep_their_numbers():
    """Which images are held out, and the steps of a run that is resumed, follow from them."""
    assert [(purpose.name, purpose.value) for purpose in Purpose] == [
        ("ORDER", 0), ("STEP", 1), ("HELD_OUT", 2), ("LEVELS", 3),
    ]  # fmt: skip
