"""Frames to bytes and back: protocol README, "Commands" and "Errors"."""

import json
from typing import Any, get_args

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from protocol import codec, frames
from protocol.codec import FrameError, decode_command, decode_server_frame, encode
from protocol.codes import ErrorCode
from tests.protocol.strategies import commands, server_frames, words

UUID = "0198c1f2-7a1e-7c3a-9f00-0000000000ab"


def refused(raw: str | bytes) -> FrameError:
    with pytest.raises(FrameError) as caught:
        decode_command(raw)
    return caught.value


def outcome_of(raw: str | bytes) -> frames.AnyCommand | FrameError:
    try:
        return decode_command(raw)
    except FrameError as error:
        return error


def a_send(**changes: Any) -> str:
    frame = {"type": "message.send", "id": "7", "content": "hi", "client_message_id": UUID}
    return json.dumps(frame | changes)


@given(commands)
def test_a_command_survives_the_wire(command: frames.AnyCommand):
    assert decode_command(encode(command)) == command
    assert decode_command(encode(command).decode()) == command


@given(server_frames)
def test_a_server_frame_survives_the_wire(frame: frames.AnyServerFrame):
    assert decode_server_frame(encode(frame)) == frame


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_anything_is_a_command_or_a_frame_error(raw: bytes | str):
    outcome = outcome_of(raw)
    if isinstance(outcome, FrameError):
        assert outcome.code in {ErrorCode.BAD_REQUEST, ErrorCode.UNKNOWN_TYPE}


@given(
    st.dictionaries(
        st.sampled_from(["id", "content", "client_message_id", "texts", "resume", "token", "generation"])
        | words,
        st.recursive(
            st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=8,
        ),
    ),
    st.sampled_from([*codec.COMMAND_TYPES, "nonsense"]),
)
def test_any_json_object_is_a_command_or_a_frame_error(fields: dict[str, Any], kind: str):
    outcome = outcome_of(json.dumps(fields | {"type": kind}))
    given_id = fields.get("id")
    usable = isinstance(given_id, str) and len(given_id) <= 64 and not codec._unfit(given_id)
    if isinstance(outcome, FrameError):
        assert outcome.re == (given_id if usable else None)
        assert len(outcome.message) <= 250
    else:
        assert outcome.id == given_id


@pytest.mark.parametrize(
    ("raw", "code", "re"),
    [
        ("", "bad_request", None),
        ("{", "bad_request", None),
        ("nonsense", "bad_request", None),
        ("[]", "bad_request", None),
        ("null", "bad_request", None),
        ('"hello"', "bad_request", None),
        ("\ufeff{}", "bad_request", None),
        (b"\xff\xfe{}", "bad_request", None),
        ('{"type":"ping"} {"type":"ping"}', "bad_request", None),
        ('{"type":"ping","id":NaN}', "bad_request", None),
        ("{}", "bad_request", None),
        ('{"id":"1"}', "bad_request", "1"),
        ('{"id":"1","type":1}', "bad_request", "1"),
        ('{"id":"1","type":null}', "bad_request", "1"),
        ('{"id":"1","type":"nope"}', "unknown_type", "1"),
        ('{"id":"1","type":"welcome"}', "unknown_type", "1"),
        ('{"id":1,"type":"ping"}', "bad_request", None),
        ('{"id":"1","type":"ping","x":"a\\u0000b"}', "bad_request", "1"),
        ('{"id":"1","type":"ping","x":{"a\\u0000b":1}}', "bad_request", "1"),
        ('{"id":"1","type":"ping","x":["a\\u0000b"]}', "bad_request", "1"),
        ('{"id":"1\\u0000","type":"ping"}', "bad_request", None),
        ('{"id":"1","type":"ping","x":"\\ud800"}', "bad_request", "1"),
        ('{"id":"1","type":"ping","\\udc00":1}', "bad_request", "1"),
        ('{"id":"\\ud800","type":"ping"}', "bad_request", None),
        ('{"id":"1","type":"ping","x":"\ud800"}', "bad_request", None),
        (b'{"id":"1","type":"ping","x":"\xed\xa0\x80"}', "bad_request", None),
        (b'{"id":"1","type":"ping","x":"a\x00b"}', "bad_request", None),
        ('{"id":"1","type":"ping","x":1e999}', "bad_request", "1"),
        ('["\\ud800"]', "bad_request", None),
        ('"\\ud800"', "bad_request", None),
    ],
)
def test_what_is_no_frame_is_refused_with_its_id_where_it_has_one(
    raw: str | bytes, code: str, re: str | None
):
    error = refused(raw)
    assert (code, re) == (error.code, error.re)


@pytest.mark.parametrize(
    "changes",
    [
        {"content": 1},
        {"content": None},
        {"content_type": "video"},
        {"content_type": None},
        {"fallback": "sometimes"},
        {"client_message_id": "not-a-uuid"},
        {"client_message_id": UUID + "\n"},
        {"client_message_id": UUID.replace("-", "")},
        {"client_message_id": "{" + UUID + "}"},
        {"conversation": ""},
        {"conversation": 5},
        {"parent_message_id": "x"},
        {"model": ["a"]},
    ],
)
def test_a_known_field_with_a_wrong_value_is_a_bad_request(changes: dict[str, Any]):
    error = refused(a_send(**changes))
    assert (error.code, error.re) == (ErrorCode.BAD_REQUEST, "7")


@pytest.mark.parametrize("missing", ["content", "client_message_id"])
def test_a_missing_field_is_named(missing: str):
    frame = json.loads(a_send())
    del frame[missing]
    assert missing in refused(json.dumps(frame)).message


@pytest.mark.parametrize(
    "cursor",
    [
        {"attempt": 1, "at": -1},
        {"attempt": -1, "at": 0},
        {"attempt": 1, "at": 2**53},
        {"attempt": True, "at": 0},
        {"attempt": 1, "at": 1.5},
        {"attempt": 1},
        {"at": 1},
        7,
    ],
)
@pytest.mark.parametrize("kind", ["hello", "sync"])
def test_a_text_cursor_is_two_whole_numbers_that_javascript_can_hold(cursor: Any, kind: str):
    texts = {"texts": {UUID: cursor}}
    frame = {"type": kind, "id": "1"} | ({"resume": texts} if kind == "hello" else texts)
    error = refused(json.dumps(frame))
    assert (error.code, error.re) == (ErrorCode.BAD_REQUEST, "1")


@pytest.mark.parametrize(
    "resume",
    [
        {"position": 41},
        {"session": "x"},
        {"texts": []},
        {"texts": {"x": {"attempt": 1, "at": 0}}},
        "k3f9a1:41",
    ],
)
def test_a_resume_point_of_wrong_types_is_a_bad_request(resume: Any):
    assert refused(json.dumps({"type": "hello", "resume": resume})).code is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize("position", ["", "nonsense", "k3f9a1:-1", "x" * 500])
def test_a_position_that_is_none_is_let_through_to_be_answered_by_reset(position: str):
    hello = decode_command(json.dumps({"type": "hello", "resume": {"position": position}}))
    assert isinstance(hello, frames.Hello)
    assert hello.resume == frames.ResumePoint(position=position)


def test_uuids_are_written_in_lower_case():
    upper = UUID.upper()
    send = decode_command(a_send(client_message_id=upper, conversation=upper, parent_message_id=upper))
    assert isinstance(send, frames.MessageSend)
    assert (send.client_message_id, send.conversation, send.parent_message_id) == (UUID, UUID, UUID)
    cursor = {"attempt": 1, "at": 5}
    for raw, expected in [
        ({"type": "generation.stop", "generation": upper}, frames.GenerationStop(generation=UUID)),
        (
            {"type": "message.regenerate", "message": upper, "client_message_id": upper},
            frames.MessageRegenerate(message=UUID, client_message_id=UUID),
        ),
        (
            {"type": "sync", "texts": {upper: cursor}},
            frames.Sync(texts={UUID: frames.TextCursor(attempt=1, at=5)}),
        ),
        (
            {"type": "hello", "resume": {"session": upper, "texts": {upper: cursor}}},
            frames.Hello(
                resume=frames.ResumePoint(session=UUID, texts={UUID: frames.TextCursor(attempt=1, at=5)})
            ),
        ),
    ]:
        assert expected == decode_command(json.dumps(raw))


def test_unknown_fields_are_ignored_and_of_duplicate_keys_the_last_wins():
    assert frames.Ping(id="2") == decode_command(
        '{"type":"auth","id":"1","new":{"a":[1]},"id":"2","type":"ping"}'
    )


def test_an_id_may_be_64_characters_long_and_no_longer():
    assert frames.Ping(id="é" * 64) == decode_command(json.dumps({"type": "ping", "id": "é" * 64}))
    error = refused(json.dumps({"type": "ping", "id": "é" * 65}))
    assert (error.code, error.re) == (ErrorCode.BAD_REQUEST, None)


def nested(depth: int, opening: str, closing: str) -> str:
    """A ping whose frame is the first of `depth` levels."""
    return '{"type":"ping","id":"1","x":' + opening * (depth - 1) + "1" + closing * (depth - 1) + "}"


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_nesting_goes_to_16_and_no_deeper(opening: str, closing: str):
    assert frames.Ping(id="1") == decode_command(nested(16, opening, closing))
    error = refused(nested(17, opening, closing))
    assert (error.code, error.re) == (ErrorCode.BAD_REQUEST, "1")
    assert refused(nested(10_000, opening, closing)).code is ErrorCode.BAD_REQUEST


def test_brackets_beside_one_another_or_in_strings_are_no_nesting():
    assert frames.Ping() == decode_command(
        json.dumps({"type": "ping", "x": [[], [], {}] * 20, "y": "[" * 100})
    )


def test_an_escaped_backslash_before_u0000_is_text():
    send = decode_command(a_send(content="\\u0000"))
    assert isinstance(send, frames.MessageSend)
    assert send.content == "\\u0000"


@pytest.mark.parametrize(
    "raw",
    [
        json.dumps({"type": "S" * 5000, "id": "1"}),
        a_send(fallback="S" * 5000),
        a_send(client_message_id="S" * 5000),
        a_send(**{"S" * 5000: 1, "content": 1}),
        json.dumps({"type": "sync", "texts": {"S" * 5000: 1}}),
        "S" * 5000,
    ],
)
def test_an_error_repeats_at_most_64_characters_of_the_input(raw: str):
    assert refused(raw).message.count("S") <= 64


def test_every_frame_is_registered_under_its_type_once():
    assert len(get_args(frames.AnyCommand)) == len(codec.COMMAND_TYPES)
    assert len(get_args(frames.AnyServerFrame)) == len(codec.SERVER_TYPES)
    assert set(codec.EVENT_TYPES) < set(codec.SERVER_TYPES)
    assert not set(codec.COMMAND_TYPES) & set(codec.SERVER_TYPES)


# --- what the server sends -----------------------------------------------------------------


@given(words, st.integers(0, 2**31), st.integers(0, 2**31), words)
def test_the_fast_delta_is_the_delta(generation: str, attempt: int, at: int, text: str):
    whole = frames.Delta(generation=generation, attempt=attempt, at=at, text=text)
    assert encode(whole) == codec.delta_bytes(generation, attempt, at, text)


def test_a_lone_surrogate_is_never_sent():
    with pytest.raises(TypeError):
        codec.delta_bytes("g", 1, 0, "\ud800")
    with pytest.raises(UnicodeEncodeError):
        encode(frames.Delta(generation="g", attempt=1, at=0, text="\ud800"))


@given(st.sampled_from(sorted(codec.EVENT_TYPES)), st.data())
def test_a_position_put_in_is_read_again(kind: str, data: st.DataObject):
    from tests.protocol.strategies import struct

    event = msgspec.structs.replace(data.draw(struct(codec.EVENT_TYPES[kind])), position="")
    body = codec.with_position(encode(event), "k3f9a1:41")
    assert body.startswith(b'{"type":"%b","position":"k3f9a1:41",' % kind.encode())
    assert msgspec.structs.replace(event, position="k3f9a1:41") == decode_server_frame(body)


@pytest.mark.parametrize(
    "body",
    [b'{"a":1,"type":"x"}', b'{ "type": "x"}', b"{}", b" { } ", b'{"type":"x"}', b'{"type":"x","a":"}"}'],
)
def test_a_position_fits_into_any_object(body: bytes):
    expected = {"position": "k:1"} | json.loads(body)
    assert expected == json.loads(codec.with_position(body, "k:1"))


def test_a_client_ignores_types_and_fields_it_does_not_know():
    assert decode_server_frame('{"type":"tomorrow","x":1}') is None
    assert decode_server_frame('{"x":1,"type":"pong"}') == frames.Pong()


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "[]",
        "{}",
        '{"type":1}',
        '{"type":"ping"',
        '{"type":"delta"}',
        '{"type":"\\ud800"}',
        '"\ud800"',
        "[" * 5000,
    ],
)
def test_what_is_no_server_frame_is_a_frame_error(raw: str):
    with pytest.raises(FrameError):
        decode_server_frame(raw)
