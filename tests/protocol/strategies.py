"""Hypothesis strategies for every frame, made from the frames' own annotations."""

import enum
import types
import typing
from typing import Any, Literal, get_args, get_origin

import hypothesis.strategies as st
import msgspec

from protocol import frames

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40)
uuids = st.uuids().map(str)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)


def of(annotation: Any) -> st.SearchStrategy[Any]:
    """A strategy for one annotation as the frames use them."""
    named: dict[Any, st.SearchStrategy[Any]] = {
        frames.Uuid: uuids,
        frames.Count: st.integers(0, 2**53 - 1),
        frames.CommandId: st.text(
            st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=64
        ),
        str: words,
        int: st.integers(-(2**53), 2**53),
        bool: st.booleans(),
        type(None): st.none(),
        Any: _json,
    }
    if annotation in named:
        return named[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal or (isinstance(annotation, type) and issubclass(annotation, enum.Enum)):
        return st.sampled_from(arguments or list(annotation))
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(of, arguments))
    if origin is list:
        return st.lists(of(arguments[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(of(arguments[0]), of(arguments[1]), max_size=3)
    assert issubclass(annotation, msgspec.Struct), annotation
    return struct(annotation)


def struct(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """A strategy for one struct."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return st.builds(kind, **{name: of(hints[name]) for name in kind.__struct_fields__})


commands = st.one_of(*map(struct, get_args(frames.AnyCommand)))
server_frames = st.one_of(*map(struct, get_args(frames.AnyServerFrame)))
