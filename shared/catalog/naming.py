"""How models and their variants are called: LM Studio's `publisher/model@quantization`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

# Quantization as llama.cpp and the people who publish GGUFs write it into file names
QUANTIZATION = re.compile(
    r"(?:^|(?<=[-._ ]))"
    r"(IQ[1-4]_(?:XXS|XS|S|M|NL)|Q[1-8]_K(?:_(?:XXS|XS|S|M|L|XL))?|Q[1-8]_[01](?:_\d_\d)?|TQ[12]_0"
    r"|(?:MXFP4|NVFP4)(?:_MOE)?|BF16|FP?16|FP?32)"
    r"(?=[-._ ]|$)",
    re.IGNORECASE,
)
PART = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})$")

# Which variant a bare key means: four bits and a half are where size buys the most quality, so Q4_K_M, then its
# neighbours, then more bits, then full precision, and fewer bits last.
PREFERENCE = """
    Q4_K_M Q4_K_XL Q4_K_L Q4_K_S Q4_K MXFP4 MXFP4_MOE NVFP4 IQ4_NL IQ4_XS Q4_1 Q4_0
    Q5_K_M Q5_K_XL Q5_K_L Q5_K_S Q5_K Q5_1 Q5_0 Q6_K Q6_K_XL Q6_K_L Q8_0 Q8_K_XL BF16 F16 F32
    Q3_K_XL Q3_K_L Q3_K_M IQ3_M IQ3_S Q3_K_S Q3_K IQ3_XS IQ3_XXS
    Q2_K_XL Q2_K_L Q2_K IQ2_M Q2_K_S IQ2_S IQ2_XS IQ2_XXS TQ2_0 TQ1_0 IQ1_M IQ1_S Q1_0
"""
RANK = {quantization: rank for rank, quantization in enumerate(PREFERENCE.split())}


def rank(quantization: str) -> int:
    """The place of a quantization in the preference order, smaller is better; unknown ones come last."""
    return RANK.get(quantization, len(RANK))


def quantization_in(name: str) -> str | None:
    """The quantization a file name ends with or holds, in capitals (`Q4_K_M`), None if it names none."""
    found = QUANTIZATION.findall(name)
    return str(found[-1]).upper().replace("FP16", "F16").replace("FP32", "F32") if found else None


def variant_labels(files: Sequence[tuple[str, str]]) -> list[str]:
    """The part after the `@` for the files of one model, each a (stem, quantization); all different.

    A quantization that occurs once is the label: `q4_k_m`. Of files that share one, what their stems do not have in
    common is added, so that a label does not depend on the order: `x-Q8_0`, `x-qat-Q8_0` are `q8_0` and `q8_0-qat`.
    """
    labels: list[str] = []
    for stem, quantization in files:
        label = quantization.lower()
        rivals = [other for other, same in files if same == quantization]
        if len(rivals) > 1:
            columns = zip(*(_words(rival) for rival in rivals), strict=False)
            common = len(list(takewhile(lambda column: len(set(column)) == 1, columns)))
            label = "-".join([label, *_words(stem)[common:]])
        number, unique = 2, label
        while unique in labels:
            unique, number = f"{label}-{number}", number + 1
        labels.append(unique)
    return labels


def parameters_label(count: int) -> str:
    """A number of parameters as people say it: `12B`, `1.5B`, `270M`."""
    for unit, name in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= unit * 0.9995:
            value = count / unit
            return f"{value:.0f}{name}" if value >= 9.95 else f"{value:.1f}{name}".replace(".0", "")
    return str(count)


def printable(text: str) -> str:
    """`text` on one line and safe for a terminal and for JSON: names and metadata are whatever somebody put there."""
    return "".join(character if character.isprintable() else " " for character in text).strip()


def _words(stem: str) -> list[str]:
    """The words of a file's stem without its quantization, in lower case."""
    return [word for word in re.split(r"[^a-z0-9]+", QUANTIZATION.sub(" ", stem).lower()) if word]
