"""Which model can be asked to go on, and how (capabilities.py)."""

import pytest

from server.generations.capabilities import CAPABILITIES, Capability, capability


@pytest.mark.parametrize(
    ("model", "how"),
    [
        ("openai/gpt-4o-mini", "user_turn"),
        ("openai/gpt-3.5-turbo-instruct", "none"),
        ("anthropic/claude-3-haiku", "prefill"),
        ("anthropic/claude-3.7-sonnet", "prefill"),
        ("anthropic/claude-3.7-sonnet:thinking", "user_turn"),
        ("anthropic/claude-sonnet-4", "prefill"),
        ("anthropic/claude-haiku-4.5", "prefill"),
        ("anthropic/claude-sonnet-4.6", "user_turn"),
        ("anthropic/claude-opus-4.8", "user_turn"),
        ("anthropic/claude-opus-5", "user_turn"),
        ("anthropic/claude-sonnet-5", "user_turn"),
        ("deepseek/deepseek-chat", "prefill"),
        ("deepseek/deepseek-chat:free", "prefill"),
        ("deepseek/deepseek-r1", "user_turn"),
        ("deepseek/deepseek-r1-0528:free", "user_turn"),
        ("perplexity/sonar", "none"),
        ("qwen/qwen3-235b-a22b-2507", "user_turn"),
        ("meta-llama/llama-3.2-3b-instruct:free", "user_turn"),
        ("Anthropic/Claude-3-Haiku:NITRO", "prefill"),
        ("nobody/knows", "user_turn"),
        ("", "user_turn"),
    ],
)
def test_a_model_goes_on_in_its_way(model: str, how: Capability):
    assert capability(model) == how


@pytest.mark.parametrize("variant", [":free", ":nitro", ":floor", ":extended", ":exacto"])
def test_how_a_model_is_routed_does_not_change_what_it_can(variant: str):
    assert capability(f"anthropic/claude-haiku-4.5{variant}") == "prefill"


def test_every_pattern_is_in_lower_case_as_slugs_are_compared():
    assert [pattern for pattern, _ in CAPABILITIES if pattern != pattern.lower()] == []
