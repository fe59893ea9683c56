"""The demo's texts, in the tokens of whatever model it runs."""

from dataclasses import replace

import pytest

from residentkv.contract.errors import ConfigError
from residentkv.serving.demo.script import write_script
from residentkv.serving.model_loading import LoadedModel


def test_chats_share_what_was_asked_for_and_then_differ(tiny_llama: LoadedModel) -> None:
    script = write_script(tiny_llama, min_shared_tokens=320)
    assert len(script.chats) == 5
    shared = {chat[: script.num_shared_tokens] for chat in script.chats}
    assert len(shared) == 1
    assert script.num_shared_tokens >= 320
    assert len({chat[script.num_shared_tokens] for chat in script.chats}) > 1
    assert len(set(script.chats)) == 5


def test_the_system_prompt_is_no_longer_than_it_has_to_be(tiny_llama: LoadedModel) -> None:
    short, long = (write_script(tiny_llama, min_shared_tokens=number) for number in (200, 320))
    assert 200 <= short.num_shared_tokens < 320 <= long.num_shared_tokens < 520


def test_a_chat_template_is_used_if_there_is_one(tiny_llama: LoadedModel) -> None:
    template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}>{% endif %}"
    )
    tiny_llama.tokenizer.chat_template = template
    chat = tiny_llama.tokenizer.decode(write_script(tiny_llama, min_shared_tokens=100).chats[0]).replace(" ", "")
    assert chat.startswith("<system>Youaretheassistant")
    assert chat.endswith("<user>HowmanybooksmayIborrow?>")


def test_passages_differ_in_their_first_block_and_may_be_long(tiny_llama: LoadedModel) -> None:
    script = write_script(tiny_llama, min_shared_tokens=100)
    passages = [script.passage(number, 5000) for number in range(5)]
    assert {len(passage) for passage in passages} == {5000}
    assert len({passage[:8] for passage in passages}) == 5


def test_a_tokenizer_whose_chats_share_too_little_is_refused(tiny_llama: LoadedModel) -> None:
    class OneTokenEach:
        chat_template = None

        def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
            return {"input_ids": [len(text)]}

    with pytest.raises(ConfigError, match="share 0 leading tokens, the demo needs 8"):
        write_script(replace(tiny_llama, tokenizer=OneTokenEach()), min_shared_tokens=8)
