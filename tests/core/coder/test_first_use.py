"""Who is told that machine code is compiled."""

from bbcodec.coder.first_use import compiling, telling


def test_the_listener_is_told_once():
    told = []
    compiling()
    with telling(lambda: told.append("outer")):
        with telling(lambda: told.append("inner")):
            compiling()
            compiling()
        assert told == ["inner"]
        compiling()
        compiling()
    assert told == ["inner", "outer"]
    compiling()
    assert told == ["inner", "outer"]
