"""What a message may be (validate.py): REST, "Messages"."""

import base64

import hypothesis.strategies as st
import pytest
from hypothesis import given

from protocol.codes import ErrorCode
from server.conversations.validate import (
    MAX_FILE_BYTES,
    MAX_IMAGE_BYTES,
    ContentInvalid,
    TextFile,
    check_content,
    read_text_file,
)


def refused(content: str, content_type="text", max_length: int = 4000) -> ContentInvalid:
    with pytest.raises(ContentInvalid) as caught:
        check_content(content, content_type, max_length=max_length)
    return caught.value


def a_data_url(media: str, data: bytes) -> str:
    return f"data:{media};base64,{base64.b64encode(data).decode()}"


PIXEL = a_data_url("image/png", b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize(
    "content", ["x", " x ", "é" * 4000, "  " + "\U0001f600" * 4000 + "\n", "a\tb\r\nc\x0c"]
)
def test_text_of_1_to_4000_characters_after_trimming_is_accepted(content: str):
    check_content(content, "text", max_length=4000)


@pytest.mark.parametrize("content", ["", " ", "\n\t\r", "\u00a0\u2003", "\u200b\u2060", "\x07"])
def test_text_that_shows_nothing_is_refused(content: str):
    error = refused(content)
    assert (error.code, error.field) == (ErrorCode.BAD_REQUEST, "content")


def test_text_too_long_says_how_long_it_may_be():
    error = refused("x" * 4001)
    assert error.code is ErrorCode.MESSAGE_TOO_LONG
    assert "4001" in error.message
    assert "4000" in error.message


def test_a_limit_of_0_is_off():
    check_content("x" * 100_000, "text", max_length=0)


@pytest.mark.parametrize("content", ["a\x00b", "a\ud800b"])
@pytest.mark.parametrize("content_type", ["text", "image", "file"])
def test_nul_and_lone_surrogates_are_refused(content: str, content_type: str):
    assert refused(content, content_type).code is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize(
    "content",
    [
        PIXEL,
        PIXEL.replace("data:image/png", "DATA:IMAGE/PNG"),
        a_data_url("image/jpeg", b"x"),
        a_data_url("image/webp;name=a.webp", b"x"),
        "https://example.org/a.png",
        "https://example.org:8443/a.png?x=1#y",
    ],
)
def test_an_image_is_an_https_url_or_a_data_url(content: str):
    check_content(content, "image", max_length=4000)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "hello",
        "http://example.org/a.png",
        "https://",
        "https://user:secret@example.org/a.png",
        "https://example.org:99999/a.png",
        "https://[::1/a.png",
        "https://example.org/a b.png",
        "https://example.org/\u00e9.png",
        "https://example.org/" + "a" * 2048,
        "javascript:alert(1)",
        "file:///etc/passwd",
        "data:image/png",
        "data:,hello",
        "data:image/svg+xml;base64,AAAA",
        "data:text/html;base64,AAAA",
        "data:image/png;base64,",
        "data:image/png;base64,A",
        "data:image/png;base64,AA*A",
    ],
)
def test_any_other_image_is_refused_with_a_reason(content: str):
    error = refused(content, "image")
    assert error.code is ErrorCode.BAD_REQUEST
    assert "image" in error.message


def test_an_image_may_be_180_kib_of_data_url():
    prefix = "data:image/png;base64,"
    fits = prefix + "A" * ((MAX_IMAGE_BYTES - len(prefix)) // 4 * 4)
    check_content(fits, "image", max_length=4000)
    assert refused(prefix + "A" * MAX_IMAGE_BYTES, "image").code is ErrorCode.MESSAGE_TOO_LONG


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("data:text/plain,hello%20there", TextFile("text/plain", "", "hello there")),
        (a_data_url("text/markdown;name=notes.md", b"# Hi"), TextFile("text/markdown", "notes.md", "# Hi")),
        (
            a_data_url("text/csv;charset=utf-8;filename=%C3%A9%0A%22.csv", "é".encode()),
            TextFile("text/csv", "é.csv", "é"),
        ),
        (a_data_url("text/plain;charset=UTF-8", b"\xef\xbb\xbfx"), TextFile("text/plain", "", "x")),
    ],
)
def test_a_file_is_text_in_a_data_url(content: str, expected: TextFile):
    assert read_text_file(content) == expected
    check_content(content, "file", max_length=1)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "hello",
        "https://example.org/a.txt",
        "data:application/pdf;base64,AAAA",
        "data:text/plain",
        "data:text/,x",
        "data:text/pl ain,x",
        "data:text/plain;base64,A",
        "data:text/plain,",
        "data:text/plain,%20%0A",
        "data:text/plain,a%00b",
        "data:text/plain,%FF",
        "data:text/plain;charset=utf-16,hi",
    ],
)
def test_any_other_file_is_refused_with_a_reason(content: str):
    error = refused(content, "file")
    assert error.code is ErrorCode.BAD_REQUEST
    assert "file" in error.message or "data URL" in error.message


def test_a_file_may_be_64_kib_decoded():
    check_content(a_data_url("text/plain", b"x" * MAX_FILE_BYTES), "file", max_length=4000)
    too_long = a_data_url("text/plain", b"x" * (MAX_FILE_BYTES + 1))
    assert refused(too_long, "file").code is ErrorCode.MESSAGE_TOO_LONG


@given(st.text() | st.text().map("data:text/".__add__) | st.text().map("data:image/png;".__add__))
def test_any_content_is_accepted_or_refused_and_never_repeated(content: str):
    for content_type in ("text", "image", "file"):
        try:
            check_content(content, content_type, max_length=100)
        except ContentInvalid as error:
            message = error.message
        else:
            message = ""
        assert len(content) < 12 or content not in message
