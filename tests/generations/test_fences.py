"""Code fences of Markdown (fences.py)."""

import pytest

from server.generations.fences import Fence, may_open, open_fence, opening, reopens

TICKS = Fence("`", 3)


@pytest.mark.parametrize(
    ("text", "fence"),
    [
        ("", None),
        ("no code", None),
        ("```", TICKS),
        ("```python\nx", TICKS),
        ("text\n```\nx\n```\n", None),
        ("```\nx\n```\n\n```js\ny", TICKS),
        ("````\n```\nx", Fence("`", 4)),
        ("```\nx\n````", None),
        ("~~~\n```\nx", Fence("~", 3)),
        ("~~~\nx\n~~~", None),
        ("~~~ a`b\nx", Fence("~", 3)),
        ("```\nx\n``` python\ny", TICKS),
        ("```\nx\n```  \r\n", None),
        ("   ```\nx", TICKS),
        ("    ```\nx", None),
        ("``` a`b\nx", None),
        ("`` ` ``", None),
        ("inline ```code``` here", None),
    ],
)
def test_the_fence_that_is_open_at_the_end(text: str, fence: Fence | None):
    assert open_fence(text) == fence


@pytest.mark.parametrize(
    ("text", "fence", "info", "length"),
    [
        ("```\nx", TICKS, "", 4),
        ("```python\nx", TICKS, "python", 10),
        ("\n\n ```python \nx", TICKS, "python", 14),
        ("~~~~ js\n", Fence("~", 4), "js", 8),
    ],
)
def test_a_text_that_begins_with_a_fence_line_opens_one(text: str, fence: Fence, info: str, length: int):
    opened = opening(text)
    assert opened is not None
    assert (opened.fence, opened.info, opened.length) == (fence, info, length)


@pytest.mark.parametrize("text", ["", "x\n```\n", "```python", "``\n", "```a`b\n"])
def test_what_has_no_complete_fence_line_at_its_beginning_opens_none(text: str):
    assert opening(text) is None


@pytest.mark.parametrize(
    ("line", "fence", "again"),
    [
        ("```python\n", TICKS, True),
        ("````python\n", TICKS, True),
        ("```\n", TICKS, False),
        ("~~~python\n", TICKS, False),
        ("```python\n", Fence("`", 4), False),
        ("```python\n", None, False),
    ],
)
def test_only_a_fence_line_with_a_language_opens_an_open_block_again(
    line: str, fence: Fence | None, again: bool
):
    opened = opening(line)
    assert opened is not None
    assert reopens(opened, fence) is again


@pytest.mark.parametrize(
    ("text", "may"),
    [("`", True), ("``", True), ("```py", True), ("\n ~", True), ("~~~", True), ("", False), ("  ", False),
     ("`x", False), ("``x", False), ("```\n", False), ("x```", False), ("`~", False)],
)  # fmt: skip
def test_what_may_become_a_fence_line(text: str, may: bool):
    assert may_open(text) is may
