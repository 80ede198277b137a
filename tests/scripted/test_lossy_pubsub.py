from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scripted.lossy_pubsub import PublishLoss, end_of_reply


def bulk(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)


def message(channel: bytes, body: bytes, kind: bytes = b"message") -> bytes:
    return b"*3\r\n" + bulk(kind) + bulk(channel) + bulk(body)


OTHERS = [b"+OK\r\n", b"-ERR no\r\n", b":12\r\n", b"$-1\r\n", b"*0\r\n", b"*-1\r\n", bulk(b"x\r\ny"),
          b"*2\r\n*1\r\n:1\r\n" + bulk(b"message"), b"*3\r\n" + bulk(b"subscribe") + bulk(b"a") + b":1\r\n"]  # fmt: skip


@pytest.mark.parametrize("reply", [*OTHERS, message(b"a", b"b")])
def test_a_reply_ends_where_it_ends(reply: bytes):
    assert end_of_reply(b"+x\r\n" + reply + b"+y\r\n", 4) == 4 + len(reply)
    assert [end_of_reply(reply[:short], 0) for short in range(len(reply))] == [None] * len(reply)


@given(st.lists(st.integers(1, 40), max_size=40), st.integers(0, 3))
def test_exactly_the_messages_meant_are_lost_however_the_bytes_are_cut(cuts: list[int], count: int):
    mine = [message(b"chat:{me}", b"%d" % number) for number in range(3)]
    other = message(b"chat:{you}", b"x", b"smessage")
    sent = [*OTHERS[:4], mine[0], other, *OTHERS[4:], mine[1], mine[2]]
    loss = PublishLoss()
    loss.lose(count, b"{me}")
    through = loss.sieve()
    data, got = b"".join(sent), b""
    for cut in cuts:
        got += through(data[:cut])
        data = data[cut:]
    got += through(data)
    assert got == b"".join(reply for reply in sent if reply not in mine[:count])
    assert (loss.lost, loss.to_lose) == (count, 0)
