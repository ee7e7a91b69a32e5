"""The engine writes what transformers writes, token by token, however its batch is made up."""

import random

import pytest
import torch
from transformers import LogitsProcessorList
from transformers.generation import logits_process as theirs

from calprune.base.progress import Progress, showing
from calprune.base.values import ConfigError, UserError
from calprune.writing.generate import generate
from calprune.writing.sampling import Sampling, candidates, draw, next_tokens, penalise
from tests.families import CONFIGS, VOCABULARY, tiny_model

PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13, 14, 15], [16, 17], [18, 19, 20, 21]]
GREEDY = Sampling(temperature=0.0, repetition_penalty=1.3, max_new_tokens=12, stop=(2,))
SAMPLED = Sampling(temperature=0.7, top_k=20, top_p=0.9, repetition_penalty=1.2, max_new_tokens=12, stop=(2,))


class Said(Progress, list):
    say = list.append


def streams(count=len(PROMPTS)):
    return [random.Random(i) for i in range(count)]


def processors(sampling, step):
    """transformers' own, in its order."""
    temperature = float(sampling.temperature_at(torch.tensor([step]))[0])
    chain = [theirs.RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)]
    if sampling.temperature:
        chain.append(theirs.TemperatureLogitsWarper(temperature))
        chain += [theirs.TopKLogitsWarper(sampling.top_k)] if sampling.top_k else []
        chain += [theirs.TopPLogitsWarper(sampling.top_p)] if sampling.top_p < 1 else []
    return LogitsProcessorList(chain)


def one_by_one(model, prompt, stream, sampling):
    """No cache, no padding, no batch: the whole sequence through the model for each token, transformers' processors,
    and the draw by hand: candidates by falling probability until their sum passes the uniform number."""
    tokens = list(prompt)
    for step in range(sampling.max_new_tokens):
        ids = torch.tensor([tokens])
        with torch.inference_mode():
            scores = processors(sampling, step)(ids, model(input_ids=ids, use_cache=False).logits[:, -1])[0]
        uniform, total = stream.random(), 0.0
        if not sampling.temperature:
            token = int(scores.argmax())
        else:
            cut = sampling.top_k is not None or sampling.top_p < 1
            order = scores.argsort(descending=True).tolist() if cut else range(len(scores))
            probability = scores.double().softmax(-1)
            for token in order:
                total += float(probability[token])
                if total > uniform:
                    break
        if token in sampling.stop:
            break
        tokens.append(token)
    return tuple(tokens)


@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_sampled_text_is_what_transformers_processors_give_with_the_same_uniform_numbers(family):
    model = tiny_model(family)
    expected = [one_by_one(model, p, s, SAMPLED) for p, s in zip(PROMPTS, streams(), strict=True)]
    assert [w.tokens for w in generate(model, PROMPTS, streams(), SAMPLED, batch_size=3)] == expected


@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_greedy_text_is_that_of_transformers_generate(family):
    model = tiny_model(family)
    for prompt, written in zip(PROMPTS, generate(model, PROMPTS, streams(), GREEDY, batch_size=2), strict=True):
        ids = torch.tensor([prompt])
        theirs_ = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, repetition_penalty=1.3, max_new_tokens=12,
            eos_token_id=2, pad_token_id=0,
        )[0].tolist()  # fmt: skip
        assert list(written.tokens) + ([2] if written.stop else []) == theirs_


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=2.0, final_temperature=1.0, cooling_tokens=5, top_k=None, top_p=1.0, max_new_tokens=12),
        Sampling(temperature=1.5, top_k=None, top_p=0.8, repetition_penalty=1.0, max_new_tokens=12),
        Sampling(temperature=1.0, top_k=3, top_p=1.0, max_new_tokens=12),
    ],
)
def test_every_kind_of_sampling_agrees_with_transformers_processors(sampling):
    model = tiny_model("llama")
    expected = [one_by_one(model, p, s, sampling) for p, s in zip(PROMPTS, streams(), strict=True)]
    assert [w.tokens for w in generate(model, PROMPTS, streams(), sampling, batch_size=5)] == expected


def test_a_documents_tokens_do_not_depend_on_the_others_in_its_batch():
    model = tiny_model("qwen2")
    model.generation_config.eos_token_id = None
    prompts = [[random.Random(i).randrange(3, VOCABULARY) for _ in range(1 + i % 9)] for i in range(12)]
    sampling = Sampling(temperature=1.0, top_p=1.0, max_new_tokens=24, stop=tuple(range(2, 9)))
    alone = [generate(model, [p], [s], sampling)[0] for p, s in zip(prompts, streams(12), strict=True)]
    assert len({len(w.tokens) for w in alone}) > 5  # they end at different times, so slots are handed on
    for batch_size in (1, 5, 12):
        assert generate(model, prompts, streams(12), sampling, batch_size=batch_size) == alone


def test_slots_are_moved_when_columns_run_out_and_nothing_is_lost(monkeypatch):
    monkeypatch.setattr("calprune.writing.cache._ROOM", 3)
    model = tiny_model("llama")
    sampling = Sampling(temperature=1.0, max_new_tokens=30, stop=tuple(range(2, 12)))
    expected = [one_by_one(model, p, s, sampling) for p, s in zip(PROMPTS * 3, streams(15), strict=True)]
    assert [w.tokens for w in generate(model, PROMPTS * 3, streams(15), sampling, batch_size=4)] == expected


def test_temperature_goes_linearly_from_the_first_token_to_the_last_of_the_schedule():
    sampling = Sampling(temperature=2.0, final_temperature=1.0, cooling_tokens=4)
    assert sampling.temperature_at(torch.tensor([0, 1, 2, 4, 9])).tolist() == [2.0, 1.75, 1.5, 1.0, 1.0]


def test_a_penalty_divides_positive_and_multiplies_negative_logits_of_tokens_seen_once():
    scores = penalise(torch.tensor([[3.0, -2.0, 1.0]]), torch.tensor([[0, 1, 0]]), 2.0)
    assert scores.tolist() == [[1.5, -4.0, 1.0]]


def test_top_p_keeps_the_fewest_that_reach_it():
    scores = torch.tensor([[0.1, 0.5, 0.15, 0.25]]).log()
    kept, ids = candidates(scores, None, 0.7)
    assert ids[torch.isfinite(kept)].tolist() == [1, 3]
    kept, ids = candidates(scores, 3, 0.1)
    assert ids[torch.isfinite(kept)].tolist() == [1]  # never none


def test_the_draw_is_the_first_place_whose_cumulative_probability_passes_the_uniform_number():
    scores = torch.tensor([[0.5, 0.25, 0.25, 0.0]]).log().expand(5, 4)
    uniform = torch.tensor([0.0, 0.49, 0.51, 0.76, 1 - 2**-53], dtype=torch.float64)
    assert draw(scores, uniform).tolist() == [0, 0, 1, 2, 2]


def test_equal_probability_for_equal_scores_over_many_draws():
    uniform = torch.rand(6000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    history, step = torch.zeros(6000, 1, dtype=torch.long), torch.zeros(6000, dtype=torch.long)
    sampling = Sampling(temperature=1.0, top_k=None, top_p=1.0, repetition_penalty=1.0)
    counts = next_tokens(torch.zeros(6000, 3), history, step, uniform, sampling).bincount()
    assert (counts / 6000 - 1 / 3).abs().max() < 0.03


def test_what_does_not_end_is_cut_at_the_window_and_said_to_be():
    written = generate(tiny_model("llama"), [[5] * 60, [5]], streams(2), Sampling(max_new_tokens=10))
    assert [(len(w.tokens), w.stop) for w in written] == [(64, None), (11, None)]


@pytest.mark.parametrize(
    ("prompts", "says"), [([[]], "prompt 1 is empty"), ([[5], [5] * 64], "prompt 2 has 64 tokens .* window is 64")]
)
def test_a_prompt_that_nothing_can_follow_is_refused(prompts, says):
    with pytest.raises(UserError, match=says):
        generate(tiny_model("gpt2"), prompts, streams(2), GREEDY)


def test_after_a_prompt_past_rotary_positions_as_much_is_written_as_is_wanted():
    said = Said()
    with showing(said):
        [short, long] = generate(tiny_model("llama"), [[5] * 60, [5] * 70], streams(2), Sampling(max_new_tokens=10))
    assert (len(short.tokens), len(long.tokens)) == (64, 80)
    assert ["prompts of 70 tokens go past the 64 positions" in line for line in said] == [True]


def test_a_model_with_another_state_than_keys_and_values_is_refused():
    import transformers

    config = transformers.Qwen3NextConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=VOCABULARY, num_experts=2, num_experts_per_tok=1, moe_intermediate_size=16,
        shared_expert_intermediate_size=16, layer_types=["linear_attention", "full_attention"], head_dim=8,
        linear_num_value_heads=2, linear_num_key_heads=2, linear_key_head_dim=8, linear_value_head_dim=8,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(UserError, match=r"qwen3_next .* beside keys and values"):
        generate(model, [[5]], streams(1), GREEDY)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"temperature": -1.0}, "temperature is 0"),
        ({"temperature": 0.0, "final_temperature": 1.0}, "stay above 0"),
        ({"top_k": 0}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"cooling_tokens": 0}, "cooling_tokens"),
    ],
)
def test_an_option_outside_its_range_is_named(options, says):
    with pytest.raises(ConfigError, match=says):
        Sampling(**options)
