"""A server that speaks the protocol: what is asked, what is read, and what its whims are worth."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kb.cot import EndpointError, EndpointModel, EngineModel, LanguageModel, RetryPolicy, Sampling
from kb.cot.endpoint_model import shared_out
from tests.cot.scripted_server import Asked, Reply, chat_reply, serving
from tests.cot.tiny_llama import save_llama

QUICK = RetryPolicy(timeout=5, tries=3, first_wait=0.01, longest_wait=0.5)


def test_a_chat_is_asked_for_as_the_protocol_says() -> None:
    with serving([Reply(chat_reply("It is 7.", "Seven."))]) as (url, asked):
        model = EndpointModel(url + "/", "m", context_length=99, retry=QUICK)
        assert isinstance(model, LanguageModel)
        (found,) = model.generate(["3 + 4?"], Sampling(9, 0.5, 0.9, n=2, stop=("\n",), seed=3))
    assert [(c.text, c.finish_reason, c.log_probability) for c in found] == [
        ("It is 7.", "stop", None),
        ("Seven.", "stop", None),
    ]
    assert sum(c.num_tokens for c in found) == 7
    (one,) = asked
    assert one.path == "/v1/chat/completions"
    assert "Authorization" not in one.headers
    seed = one.body.pop("seed")
    assert 0 <= seed < 2**31
    assert one.body == {
        "model": "m",
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "n": 2,
        "stop": ["\n"],
        "messages": [{"role": "user", "content": "3 + 4?"}],
    }


def test_numbers_of_numpy_can_be_sent() -> None:
    with serving([Reply(chat_reply("7"))]) as (url, asked):
        model = EndpointModel(url, "m", context_length=99, retry=QUICK)
        numbers = np.int64(9), np.float32(0.5), np.float32(0.75), np.int64(1)
        model.generate(["3 + 4?"], Sampling(*numbers, seed=np.int64(3)))  # type: ignore[arg-type]
    assert [asked[0].body[name] for name in ("max_tokens", "temperature", "top_p", "n")] == [9, 0.5, 0.75, 1]


def test_a_system_message_goes_as_one() -> None:
    with serving([Reply(chat_reply("ok"))]) as (url, asked):
        model = EndpointModel(url, "m", context_length=99, retry=QUICK)
        prompt = model.chat("hi", "be brief")
        model.generate([prompt, prompt + "!", model.chat("hi")], Sampling())
    messages = [one.body["messages"] for one in asked]
    assert messages[0] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    assert messages[1] == [{"role": "user", "content": "be brief\n\nhi!"}]
    assert messages[2] == [{"role": "user", "content": "hi"}]


def test_greedy_samples_are_asked_for_once() -> None:
    with serving([Reply(chat_reply("7"))]) as (url, asked):
        (found,) = EndpointModel(url, "m", context_length=99).generate(["a"], Sampling(n=3))
    assert [c.text for c in found] == ["7"] * 3
    assert [one.body["n"] for one in asked] == [1]


def test_fewer_choices_are_filled_up_with_other_seeds() -> None:
    with serving([Reply(chat_reply("a")), Reply(chat_reply("b", "c", "surplus"))]) as (url, asked):
        (found,) = EndpointModel(url, "m", context_length=99).generate(["q"], Sampling(temperature=1.0, n=3))
    assert [c.text for c in found] == ["a", "b", "c"]
    assert [one.body["n"] for one in asked] == [3, 2]
    assert asked[1].body["seed"] == asked[0].body["seed"] + 1


def test_a_server_that_refuses_n_is_asked_one_by_one() -> None:
    def script(asked: Asked) -> Reply:
        if asked.body["n"] > 1:
            return Reply({"error": {"message": "'n' : number must be at most 1"}}, status=400)
        return Reply(chat_reply(str(asked.body["seed"])))

    with serving(script) as (url, asked):
        (found,) = EndpointModel(url, "m", context_length=99).generate(["q"], Sampling(temperature=1.0, n=3))
    assert len({c.text for c in found}) == 3
    assert [one.body["n"] for one in asked] == [3, 1, 1, 1]


def test_stop_strings_cut_what_the_server_left() -> None:
    stops = ("E1", "E2", "E3", "E4", "END")
    with serving([Reply(chat_reply("7 apples END more", reason="length"))]) as (url, asked):
        ((found,),) = EndpointModel(url, "m", context_length=99).generate(["q"], Sampling(stop=stops))
    assert (found.text, found.finish_reason) == ("7 apples ", "stop")
    assert asked[0].body["stop"] == ["E1", "E2", "E3", "E4"]


@pytest.mark.parametrize(
    ("reason", "wanted"), [("length", "length"), (None, "stop"), ("stop", "stop"), ("content_filter",) * 2]
)
def test_reasons(reason: str | None, wanted: str) -> None:
    with serving([Reply(chat_reply("x", reason=reason))]) as (url, _):
        ((found,),) = EndpointModel(url, "m", context_length=99).generate(["q"], Sampling())
    assert found.finish_reason == wanted


def test_log_probabilities_where_the_server_gives_them() -> None:
    body = chat_reply("a b")
    body["choices"][0]["logprobs"] = {"content": [{"logprob": -0.5}, {"logprob": -1.25}]}
    with serving([Reply(body)]) as (url, asked):
        ((found,),) = EndpointModel(url, "m", context_length=99, log_probabilities=True).generate(["q"], Sampling())
    assert (found.log_probability, found.num_tokens) == (-1.75, 2)
    assert asked[0].body["logprobs"] is True


def test_an_empty_message_is_an_empty_text() -> None:
    body = chat_reply("x")
    body["choices"][0]["message"]["content"] = None
    with serving([Reply(body)]) as (url, _):
        assert EndpointModel(url, "m", context_length=99).generate(["q"], Sampling())[0][0].text == ""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"choices": []}, "has no choices"),
        ({}, "has no choices"),
        ({"choices": [3]}, "choices must be JSON objects"),
        ({"choices": [{"message": {"content": 3}}]}, "a choice has no text"),
        ({"choices": [{"text": "a completion, not a chat"}]}, "a choice has no text"),
        ({"choices": [{"message": {"content": "x"}}]}, "no usage.completion_tokens; give a tokenizer"),
        ({"choices": [{"message": {"content": "x"}}], "usage": {"completion_tokens": "7"}}, "no usage"),
        (["choices"], "must be a JSON object, got list"),
        (b"<html>busy</html>", "is no JSON: '<html>busy"),
        (b"[" * 100_000, "is no JSON"),
    ],
)
def test_what_is_no_answer_is_an_error_at_once(body: Any, message: str) -> None:
    with serving([Reply(body)]) as (url, asked):
        with pytest.raises(EndpointError, match=message):
            EndpointModel(url, "m", context_length=99, retry=QUICK).generate(["q"], Sampling())
        assert len(asked) == 1


def test_many_prompts_keep_their_order_under_several_workers() -> None:
    def script(asked: Asked) -> Reply:
        text = asked.body["messages"][0]["content"]
        return Reply(chat_reply(text), delay=0.02 * (int(text) % 3))

    prompts = [str(number) for number in range(12)]
    with serving(script) as (url, _):
        found = EndpointModel(url, "m", context_length=99, workers=4).generate(prompts, Sampling())
        assert EndpointModel(url, "m", context_length=99).generate([], Sampling()) == []
    assert [one.text for (one,) in found] == prompts


def test_our_engine_behind_the_protocol_writes_what_it_writes(tmp_path: Path) -> None:
    """Both APIs, with the tokenizer and without a template of our own for the chat."""
    engine = EngineModel(save_llama(tmp_path), num_gpu_blocks_override=100, device="cpu")

    def script(asked: Asked) -> Reply:
        body = asked.body
        options = {name: body[name] for name in ("max_tokens", "temperature", "top_p", "n", "seed")}
        chats = asked.path == "/v1/chat/completions"
        told = {one["role"]: one["content"] for one in body.get("messages", [])}
        prompt = engine.chat(told["user"], told.get("system")) if chats else body["prompt"]
        (found,) = engine.generate([prompt], Sampling(**options, stop=tuple(body.get("stop", ()))))
        text = [{"message": {"content": c.text}} if chats else {"text": c.text} for c in found]
        choices = [{**one, "finish_reason": c.finish_reason} for one, c in zip(text, found, strict=True)]
        return Reply({"choices": choices, "usage": {"completion_tokens": sum(c.num_tokens for c in found)}})

    sampling = Sampling(max_tokens=10)
    with serving(script) as (url, _):
        chat = EndpointModel(url, "tiny", context_length=160)
        plain = EndpointModel(url, "tiny", api="completions", tokenizer=engine._tokenizer, context_length=160)
        wanted = engine.generate([engine.chat("hi", "be short")], sampling)[0][0]
        assert chat.generate([chat.chat("hi", "be short")], sampling)[0][0].text == wanted.text
        assert plain.generate([plain.chat("hi", "be short")], sampling)[0][0].text == wanted.text
        drawn = plain.generate(["today"], Sampling(8, 1.4, n=3, seed=2))
        assert drawn == plain.generate(["today"], Sampling(8, 1.4, n=3, seed=2))
        assert plain.count_tokens("today") == engine.count_tokens("today")
        with pytest.raises(ValueError, match=r"prompts\[0\] has 155 tokens.*context_length = 160"):
            plain.generate(["b" * 155], sampling)


def test_what_it_cannot_know_it_says() -> None:
    model = EndpointModel("http://localhost:1/v1", "m", context_length=99)
    with pytest.raises(ValueError, match="tokenizer must be given"):
        model.count_tokens("a")
    assert (model.context_length, model.name) == (99, "m")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"api": "responses"}, ValueError, "api must be 'chat' or 'completions', got 'responses'"),
        ({"workers": 0}, ValueError, "workers must be an integer of at least 1"),
        ({"context_length": -1}, ValueError, "context_length must be an integer"),
        ({"tokenizer": 3}, TypeError, "tokenizer must have encode, got int"),
        ({"retry": 3}, TypeError, "retry must be a RetryPolicy, got int"),
        ({"model": 3}, TypeError, "model must be a string, got int"),
        ({"base_url": "ftp://host/v1"}, ValueError, "base_url must be like 'https://host/v1'"),
        ({"base_url": "localhost:8000"}, ValueError, "base_url must be like"),
        ({"base_url": "http://"}, ValueError, "base_url must be like"),
        ({"base_url": "http://host:99999/v1"}, ValueError, "base_url is no address"),
        ({"base_url": "http://host/v1?key=secret"}, ValueError, "without a query.*got 'http://host/v1'"),
        ({"base_url": "http://ho st/v1"}, ValueError, "base_url must be like"),
        ({"base_url": "http://host/v1\n"}, ValueError, "base_url must be like"),
        ({"base_url": None}, TypeError, "base_url must be a string, got NoneType"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        EndpointModel(**{"base_url": "http://localhost:1/v1", "model": "m", "context_length": 99, **options})


def test_an_address_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(ValueError, match="must not hold a user or a password") as caught:
        EndpointModel("https://me:secret@host/v1", "m", context_length=99)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("total", "lengths", "wanted"),
    [(10, [1, 1], [5, 5]), (7, [3, 3], [3, 4]), (5, [0, 0], [2, 3]), (9, [8, 0, 1], [8, 0, 1]), (0, [4, 2], [0, 0])],
)
def test_a_total_is_shared_out_whole(total: int, lengths: list[int], wanted: list[int]) -> None:
    assert shared_out(total, lengths) == wanted
