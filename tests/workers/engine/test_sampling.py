"""Sampling against llama.cpp's own samplers, and its randomness."""

from __future__ import annotations

import ctypes
from collections import Counter

import llama_cpp.llama_cpp as llama
import numpy as np
import pytest

from workers.engine.core import Sampling
from workers.engine.sampling import Sampler, apply_mask, filtered, largest

VOCABULARIES = (50, 2048, 40_001)


def random_logits(size: int, seed: int = 0, spread: float = 3.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(size) * spread).astype(np.float32)


def by_llama(logits: np.ndarray, sampling: Sampling) -> dict[int, float]:
    """The probabilities llama.cpp's chain ends up with."""
    chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
    if sampling.top_k:
        llama.llama_sampler_chain_add(chain, llama.llama_sampler_init_top_k(sampling.top_k))
    llama.llama_sampler_chain_add(chain, llama.llama_sampler_init_top_p(sampling.top_p, 1))
    llama.llama_sampler_chain_add(chain, llama.llama_sampler_init_min_p(sampling.min_p, 1))
    llama.llama_sampler_chain_add(chain, llama.llama_sampler_init_temp(sampling.temperature))
    data = (llama.llama_token_data * len(logits))(*((i, float(x), 0.0) for i, x in enumerate(logits)))
    candidates = llama.llama_token_data_array(data, len(logits), -1, False)
    llama.llama_sampler_apply(chain, ctypes.byref(candidates))
    kept = {candidates.data[i].id: candidates.data[i].logit for i in range(candidates.size)}
    llama.llama_sampler_free(chain)
    highest = max(kept.values())
    weights = {token: np.exp(logit - highest) for token, logit in kept.items()}
    return {token: weight / sum(weights.values()) for token, weight in weights.items()}


@pytest.mark.parametrize("size", VOCABULARIES)
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(top_k=40),
        Sampling(top_k=1),
        Sampling(top_p=0.9),
        Sampling(top_p=0.9, temperature=1.7),
        Sampling(top_p=0.0),
        Sampling(min_p=0.05),
        Sampling(min_p=1.0),
        Sampling(top_k=20, top_p=0.8, min_p=0.1, temperature=0.5),
        Sampling(top_p=0.999, min_p=0.001),
    ],
    ids=str,
)
def test_filters_keep_what_llama_cpp_keeps(size: int, sampling: Sampling) -> None:
    for seed in range(5):
        logits = random_logits(size, seed)
        expected = by_llama(logits, sampling)
        tokens, weights = filtered(logits, sampling.top_k, sampling.top_p, sampling.min_p)
        probabilities = weights.astype(np.float64) ** (1 / sampling.temperature)
        probabilities /= probabilities.sum()
        found = dict(zip(tokens.tolist(), probabilities, strict=True))
        for token in found.keys() ^ expected.keys():  # the last one of a sum may differ by rounding
            assert sampling.top_p < 1
            assert found.get(token, expected.get(token, 0.0)) <= 1.001 * min(found.values())
        assert len(found.keys() ^ expected.keys()) <= 1
        for token in found.keys() & expected.keys():
            assert found[token] == pytest.approx(expected[token], rel=1e-3)


@pytest.mark.parametrize("size", VOCABULARIES)
def test_tokens_come_as_often_as_their_probability(size: int) -> None:
    logits = random_logits(size, spread=4.0)
    probabilities = np.exp((logits - logits.max()) / 1.0)
    probabilities /= probabilities.sum()
    sampler = Sampler(Sampling(temperature=1.0, seed=1))
    counts: Counter[int] = Counter()
    for _ in range(4000):
        token = sampler.choose(logits.copy())
        sampler.accept(token)
        counts[token] += 1
    for token in np.argsort(-probabilities)[:10]:
        expected = 4000 * probabilities[token]
        assert abs(counts[int(token)] - expected) < 5 * np.sqrt(expected) + 1


@pytest.mark.parametrize("size", VOCABULARIES)
@pytest.mark.parametrize("count", [1, 5, 20, 1000])
def test_the_largest_are_the_largest(size: int, count: int) -> None:
    values = random_logits(size)
    assert values[largest(values, count)].tolist() == sorted(values.tolist(), reverse=True)[:count]


@pytest.mark.parametrize("count", [1, 40, 100])
@pytest.mark.parametrize("size", [40_001, 150_543])
def test_of_equally_large_ones_the_first_are_taken(size: int, count: int) -> None:
    values = random_logits(size).round(1)  # many are equal, behind the last full row of the grid too
    values[-1] = values.max() + 1
    assert largest(values, count).tolist() == np.argsort(-values, kind="stable")[:count].tolist()


def test_temperature_0_takes_the_likeliest() -> None:
    logits = random_logits(2048)
    assert Sampler(Sampling(temperature=0)).choose(logits.copy()) == logits.argmax()


def test_randomness_goes_on_where_an_earlier_run_stopped() -> None:
    sampling = Sampling(temperature=1.5, seed=42, frequency_penalty=0.5)
    rows = [random_logits(2048, seed, spread=2.0) for seed in range(40)]
    sampler, output = Sampler(sampling), []
    for row in rows:
        output.append(sampler.choose(row.copy()))
        sampler.accept(output[-1])
    resumed = Sampler(sampling, output[:25])
    for number in range(25, 40):
        assert resumed.choose(rows[number].copy()) == output[number]
        resumed.accept(output[number])


def test_without_a_seed_two_requests_differ() -> None:
    first, second = Sampler(Sampling(temperature=1.0)), Sampler(Sampling(temperature=1.0))
    rows = [np.zeros(2048, np.float32) for _ in range(8)]
    assert [first.choose(row.copy()) for row in rows] != [second.choose(row.copy()) for row in rows]


def test_penalties_count_what_was_generated() -> None:
    logits = np.zeros(100, np.float32)
    logits[[1, 2, 3]] = 3.0, 2.0, 1.0
    sampler = Sampler(Sampling(temperature=0, presence_penalty=0.5, frequency_penalty=0.3))
    chosen = []
    for _ in range(6):
        chosen.append(sampler.choose(logits.copy()))
        sampler.accept(chosen[-1])
    assert chosen == [1, 1, 2, 1, 1, 1]  # token 1: 3.0, 2.2, 1.9, 1.6, 1.3; token 2: 2.0, 1.2


@pytest.mark.parametrize("size", VOCABULARIES)
@pytest.mark.parametrize(
    "sampling", [Sampling(seed=1), Sampling(temperature=0), Sampling(top_p=0.9), Sampling(top_k=3)], ids=str
)
def test_only_tokens_of_the_mask_are_chosen(size: int, sampling: Sampling) -> None:
    allowed = {3, size // 2, size - 1}
    words = np.zeros(-(-size // 32), np.uint32)
    for token in allowed:
        words[token // 32] |= np.uint32(1 << (token % 32))
    sampler = Sampler(sampling)
    for seed in range(20):
        logits = random_logits(size, seed)
        assert apply_mask(logits, words.view(np.int32))
        token = sampler.choose(logits)
        sampler.accept(token)
        assert token in allowed


def test_an_empty_mask_is_noticed() -> None:
    assert not apply_mask(random_logits(50), np.zeros(2, np.int32))


def test_logprobs_are_a_log_softmax() -> None:
    logits = random_logits(2048)
    one = Sampler(Sampling(top_logprobs=3)).logprob(logits, 17)
    expected = logits - np.log(np.exp(logits.astype(np.float64)).sum())
    assert one.logprob == pytest.approx(expected[17], abs=1e-4)
    assert [token for token, _ in one.top] == np.argsort(-logits)[:3].tolist()
