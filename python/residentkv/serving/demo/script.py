"""What the requests of the demo say: chats that begin alike, and passages that share nothing with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, cycle, islice, takewhile
from typing import Any, Final

from residentkv.contract.errors import ConfigError
from residentkv.serving.model_loading import LoadedModel

_RULES: Final = (
    "You are the assistant of a small public library in a harbour town. Answer in one short sentence.",
    "The library opens at nine in the morning and closes at six in the evening.",
    "On Saturdays it closes at one in the afternoon, and on Sundays it stays closed.",
    "A reader may borrow eight books for four weeks and two films for one week.",
    "A loan can be renewed twice, unless another reader waits for it.",
    "Late books cost ten cents a day, late films fifty cents, and never more than five euros.",
    "Lost items are replaced by the reader.",
    "The quiet room at the back of the first floor has no telephones and no food.",
    "The front room has newspapers, coffee and a fireplace.",
    "The children's corner is downstairs, next to the aquarium.",
    "Story time is every Wednesday at four.",
    "The town archive in the cellar keeps ship registers from 1784 on.",
    "A visit to the archive needs an appointment two days ahead and clean hands.",
    "Printing costs five cents a page, scanning is free.",
    "Books that we do not own can be ordered from the county library, which takes a week.",
    "If you do not know an answer, say so and give the telephone extension of the desk, which is 12.",
    "Never invent a title, an author or a price.",
    "Chess boards can be borrowed at the desk for an hour.",
    "The reading group meets on the first Monday of each month.",
    "Bicycles stay outside, dogs may come in if they are quiet.",
    "The microfilm reader is out of order until the spring.",
    "Cards are free for children and cost six euros a year for everybody else.",
    "A lost card is replaced for two euros.",
    "Maps are never lent, but may be copied by hand.",
    "The lift is next to the stairs and needs a key from the desk.",
    "In the evening a bell rings ten minutes before closing.",
    "Be kind to children, patient with everybody, and brief.",
)

_QUESTIONS: Final = (
    "How many books may I borrow?",
    "When do you close on Saturday?",
    "What do four printed pages cost?",
    "Where can I read a newspaper?",
    "May I eat in the quiet room?",
)

_PASSAGE: Final = """The harbour log begins before sunrise. Wind from the north-west, force four, cloud low over the
breakwater and the tide an hour past its lowest. Two trawlers came in with herring, the third stayed out for the deep
water beyond the banks. The pilot boat left at six to meet a timber ship whose papers had gone ahead by post, and the
crane on the east quay was greased, tested with the iron weight and found in order. At seven the fish hall opened. The
first crates went to the inns along the hill, the next ones to the railway, and what remained was smoked before noon. A
child found a bottle with a letter in a language that nobody at the hall could read, so it hangs now in the window of
the chandler's shop. The lamp keeper reported a cracked pane on the seaward side and asked for glass, putty and a calm
day. In the afternoon the fog came, thick and sudden, and the bell was rung each minute until the timber ship answered
with her horn and lay still outside the bar. """


@dataclass(frozen=True, slots=True)
class Script:
    """Token ids for every request.

    Attributes
    ----------
    chats : one conversation per question, all behind the same system prompt.
    num_shared_tokens : leading tokens that all chats have in common, whatever the chat template does.
    passage_tokens : plain text.
    """

    chats: tuple[tuple[int, ...], ...]
    num_shared_tokens: int
    passage_tokens: tuple[int, ...]

    def passage(self, number: int, num_tokens: int) -> tuple[int, ...]:
        """`num_tokens` of plain text, repeated as needed. Passages of different numbers differ in their first block."""
        begin = 5 * number
        return tuple(islice(cycle(self.passage_tokens), begin, begin + num_tokens))


def write_script(loaded: LoadedModel, *, min_shared_tokens: int) -> Script:
    """Turn the demo's texts into the model's tokens; the system prompt gets as many rules as `min_shared_tokens` takes.

    Raises
    ------
    ConfigError : the chats of this tokenizer do not share that many leading tokens, whatever the system prompt.
    """
    shared = 0
    for system in accumulate(_RULES, "{} {}".format):
        chats = tuple(tuple(_chat_tokens(loaded.tokenizer, system, question)) for question in _QUESTIONS)
        shared = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*chats, strict=False)))
        if shared >= min_shared_tokens:
            return Script(chats, shared, tuple(_plain_tokens(loaded.tokenizer, _PASSAGE)))
    raise ConfigError(
        f"the chats of {loaded.model_id} share {shared} leading tokens, the demo needs {min_shared_tokens}"
    )


def _chat_tokens(tokenizer: Any, system: str, question: str) -> Sequence[int]:
    if tokenizer.chat_template is None:
        return _plain_tokens(tokenizer, f"{system}\n\nReader: {question}\nAssistant:")
    messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    return _plain_tokens(tokenizer, tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))


def _plain_tokens(tokenizer: Any, text: str) -> Sequence[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
