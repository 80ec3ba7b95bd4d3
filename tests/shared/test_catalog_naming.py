"""Names of quantizations, variants and sizes."""

import itertools

import pytest

from shared.catalog.naming import parameters_label, quantization_in, rank, variant_labels


@pytest.mark.parametrize(
    ("name", "quantization"),
    [
        ("gemma-3-12b-it-Q4_K_M", "Q4_K_M"),
        ("gemma-3-12b-it-q3_k_l", "Q3_K_L"),
        ("llama.Q8_0", "Q8_0"),
        ("X-UD-Q4_K_XL", "Q4_K_XL"),
        ("m-IQ4_XS", "IQ4_XS"),
        ("gpt-oss-20b-MXFP4", "MXFP4"),
        ("a-fp16", "F16"),
        ("a-BF16", "BF16"),
        ("Q6_K", "Q6_K"),
        ("F16-to-Q5_K_S", "Q5_K_S"),
        ("Phi-3-mini-4k", None),
        ("q8_0ish", None),
    ],
)
def test_the_quantization_in_a_file_name(name: str, quantization: str | None) -> None:
    assert quantization_in(name) == quantization


def test_a_quantization_that_is_there_once_is_the_label() -> None:
    assert variant_labels([("x-Q8_0", "Q8_0"), ("x-Q4_K_M", "Q4_K_M")]) == ["q8_0", "q4_k_m"]


def test_files_that_share_a_quantization_are_told_apart_by_what_differs() -> None:
    files = [("x-Q8_0", "Q8_0"), ("x-qat-Q8_0", "Q8_0"), ("x-Q4_0", "Q4_0")]
    for order in itertools.permutations(files):
        labels = dict(zip(order, variant_labels(order), strict=True))
        assert labels == {files[0]: "q8_0", files[1]: "q8_0-qat", files[2]: "q4_0"}


def test_labels_are_distinct_even_if_only_punctuation_differs() -> None:
    labels = variant_labels([("a.b-F16", "F16"), ("a-b-F16", "F16"), ("a b F16", "F16")])
    assert len(set(labels)) == 3


@pytest.mark.parametrize(
    ("count", "label"),
    [
        (999, "999"),
        (3_672_832, "3.7M"),
        (268_000_000, "268M"),
        (999_600_000, "1B"),
        (1_240_000_000, "1.2B"),
        (9_960_000_000, "10B"),
        (11_770_000_000, "12B"),
        (1_030_000_000_000, "1T"),
    ],
)
def test_parameters_as_people_say_them(count: int, label: str) -> None:
    assert parameters_label(count) == label


def test_the_order_of_preference() -> None:
    names = ["Q2_K", "F16", "Q8_0", "Q4_K_M", "unheard of", "Q5_K_M", "Q4_K_S", "F32", "IQ1_S"]
    assert sorted(names, key=rank) == [
        "Q4_K_M", "Q4_K_S", "Q5_K_M", "Q8_0", "F16", "F32", "Q2_K", "IQ1_S", "unheard of",
    ]  # fmt: skip
