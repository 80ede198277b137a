"""What is carried on a user's channel and on a node's, and how it is read.

Sans-I/O. One letter, then fields divided by single spaces, the body last, so a node sees places and lengths
without decoding JSON:

* `e <epoch> <offset> <kind> <generation> <JSON>` an event (`generation` may be empty)
* `t <generation> <attempt> <attempt before> <at> <length> <UTF-8>` text
* `f <JSON>` an ephemeral frame
* `r` the user's tokens are revoked
* `x <session>` another session has this one's place
* `stop <user> <generation>` on a node's channel
"""

from __future__ import annotations

from server.channels.broker import Arrival, EventArrived, FrameArrived, Replaced, Revoked, TextArrived

REVOKED = b"r"


def frame(body: bytes) -> bytes:
    """The payload of an ephemeral frame."""
    return b"f " + body


def arrival(user: str, payload: bytes) -> Arrival:
    """What a payload on the user's channel says.

    Raises:
        ValueError: it is none of the forms above.
    """
    tag = payload[:2]
    if tag == b"t ":
        _, generation, attempt, previous, at, length, text = payload.split(b" ", 6)
        return TextArrived(
            user, generation.decode(), int(attempt), int(previous), int(at), int(length), text.decode()
        )
    if tag == b"e ":
        _, epoch, offset, kind, generation, body = payload.split(b" ", 5)
        return EventArrived(user, epoch.decode(), int(offset), kind.decode(), generation.decode(), body)
    if tag == b"f ":
        return FrameArrived(user, payload[2:])
    if payload == REVOKED:
        return Revoked(user)
    if tag == b"x ":
        return Replaced(user, payload[2:].decode())
    raise ValueError(f"an unknown payload of {len(payload)} bytes")


def stop_order(payload: bytes) -> tuple[str, str]:
    """The `(user, generation)` of an order to stop.

    Raises:
        ValueError: it is not one.
    """
    verb, user, generation = payload.decode().split(" ")
    if verb != "stop":
        raise ValueError("an unknown order")
    return user, generation
