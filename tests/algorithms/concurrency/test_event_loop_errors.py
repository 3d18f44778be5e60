"""What the event loop refuses, and in which words."""

import pytest

from kb.algorithms.concurrency import Future, Loop


def test_errors_of_use():
    loop = Loop()

    async def nested():
        loop.run(loop.sleep(1))

    async def dead():
        await Future(loop)

    async def foreign():
        await Pause()

    class Pause:
        def __await__(self):
            yield "no future"

    with pytest.raises(RuntimeError, match="running already"):
        loop.run(nested())
    with pytest.raises(RuntimeError, match="deadlock"):
        loop.run(dead())
    with pytest.raises(RuntimeError, match="got 'no future'"):
        Loop().run(foreign())
    other = Loop()

    async def strange():
        await Future(other)

    async def twice():
        await loop.gather(loop.create_task(loop.sleep(1)))

    with pytest.raises(RuntimeError, match="must await futures of this loop"):
        Loop().run(strange())
    with pytest.raises(TypeError, match="a coroutine was expected"):
        loop.run(twice())
    with pytest.raises(ValueError, match=r"seconds must be a number, got 'soon'"):
        Loop().run(Loop().sleep("soon"))
    with pytest.raises(RuntimeError, match="no result yet"):
        Future(loop).result()
