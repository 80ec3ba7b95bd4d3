"""Sums, follow-up sums, primes and counting."""

import zlib
from collections.abc import Iterable

from .conversation import Exchange, Scene, Thought
from .dice import Dice

PRIMES = [n for n in range(2, 1000) if all(n % k for k in range(2, int(n**0.5) + 1))]
_WORDS = {"+": "plus", "-": "minus", "*": "times"}


def compute(a: int, op: str, b: int) -> int:
    """The result of one of the three operations + - *."""
    return a + b if op == "+" else a - b if op == "-" else a * b


def is_held_out_sum(a: int, op: str, b: int) -> bool:
    """A tenth of all sums is kept for the evaluation (tables with a factor below ten are not split)."""
    return (op != "*" or min(a, b) > 9) and zlib.crc32(f"{a}{op}{b}".encode()) % 10 == 0


def working(a: int, op: str, b: int) -> tuple[str, ...]:
    """The steps of a sum, digit by digit where that helps; the last step is the result."""
    result = f"{a} {_WORDS[op]} {b} is {compute(a, op, b)}."
    ones_a, ones_b, tens_a, tens_b = a % 10, b % 10, a // 10, b // 10
    if op == "+" and max(a, b) > 9:
        ones = ones_a + ones_b
        if ones > 9:
            return (f"The ones are {ones_a} plus {ones_b}, which is {ones}, so I carry 1.",
                    f"The tens are {tens_a} plus {tens_b} plus 1, which is {tens_a + tens_b + 1}.", result)
        return (f"The ones are {ones_a} plus {ones_b}, which is {ones}.",
                f"The tens are {tens_a} plus {tens_b}, which is {tens_a + tens_b}.", result)
    if op == "-" and a > 9 and a >= b:
        if ones_a < ones_b:
            return (f"The ones are {ones_a + 10} minus {ones_b}, which is {ones_a + 10 - ones_b}, so I borrow 1.",
                    f"The tens are {tens_a} minus {tens_b} minus 1, which is {tens_a - tens_b - 1}.", result)
        return (f"The ones are {ones_a} minus {ones_b}, which is {ones_a - ones_b}.",
                f"The tens are {tens_a} minus {tens_b}, which is {tens_a - tens_b}.", result)
    if op == "*" and a > 9:
        return (f"{tens_a * 10} times {b} is {tens_a * 10 * b}.", f"{ones_a} times {b} is {ones_a * b}.",
                f"Together that is {a * b}.", result)
    return (result,)


def _operands(d: Dice) -> tuple[int, str, int]:
    while True:
        op = d.pick("+++--**")
        if op == "*":
            a, b = (d.randint(0, 12), d.randint(0, 12)) if d.chance(0.6) else (d.randint(1, 99), d.randint(2, 9))
        elif op == "+":
            a, b = d.randint(0, 99), d.randint(0, 99 if d.chance(0.7) else 9)
        else:
            a = d.randint(0, 99)
            b = d.randint(0, a)
        if is_held_out_sum(a, op, b) == d.held_out or (op == "*" and min(a, b) <= 9):
            return a, op, b


def sum_(d: Dice, s: Scene) -> Exchange:
    a, op, b = _operands(d)
    if op == "*":
        user = d.say(["What is {a} times {b}?", "Multiply {a} by {b}.", "{a} * {b}", "{a} * {b} = ?",
                      "What is {a} multiplied by {b}?", "Compute {a} x {b}.", "Calculate {a} times {b}.",
                      "How much is {a} * {b}?", "What's {a}*{b}?", "What is {a} * {b}?", "What is {a} x {b}?"],
                     ["How much is {a} times {b}?", "Can you multiply {a} by {b}?", "Calculate {a} * {b}."])
    elif op == "+":
        user = d.say(["What is {a} plus {b}?", "Add {a} and {b}.", "{a} + {b}", "{a}+{b}=?", "What is {a} + {b}?",
                      "What is the sum of {a} and {b}?", "Calculate {a} + {b}.", "How much is {a} plus {b}?",
                      "What's {a}+{b}?", "Compute {a} + {b}"],
                     ["How much is {a} + {b}?", "Can you add {a} and {b}?", "Calculate {a} plus {b}."])
    else:
        user = d.say(["What is {a} minus {b}?", "Subtract {b} from {a}.", "{a} - {b}", "{a}-{b}=?",
                      "What is {a} - {b}?", "Calculate {a} minus {b}.", "How much is {a} - {b}?", "What's {a}-{b}?"],
                     ["How much is {a} minus {b}?", "Can you subtract {b} from {a}?", "Calculate {a} - {b}."])
    s.number, s.prime = compute(a, op, b), None
    steps = working(a, op, b)
    return Exchange(user.format(a=a, b=b), Thought("do a calculation", "a sum", steps), steps[-1], "sum")


def follow_up(d: Dice, s: Scene) -> Exchange:
    """Goes on from the last number: "Multiply it by 2"."""
    if s.number is None or not 0 <= s.number <= 300:
        return d.pick([prime, sum_])(d, s)
    x, op = s.number, d.pick("+-***")
    if op == "*":
        b = d.pick([2, 2, 2, 3, 4, 5, 10, d.randint(2, 9)]) if x <= 99 else 2
        seen = ["Multiply it by {b}.", "Now multiply it by {b}", "Multiply that by {b}.", "What is that times {b}?",
                "Times {b}?", "Multiply the result by {b}.", "Now times {b}.", "Multiply it by {b}"]
        unseen = ["Please multiply it by {b}.", "And now multiply that by {b}.", "Now multiply the result by {b}."]
        if b == 2 and not d.held_out:
            seen += ["Double it.", "Now double that.", "Multiply it by two."]
    elif op == "+":
        b = d.randint(1, 20)
        seen = ["Add {b} to it.", "Now add {b}.", "Add {b} to that.", "What is that plus {b}?", "Plus {b}?",
                "Add {b} to the result."]
        unseen = ["And add {b} to it.", "Now add {b} to that."]
    else:
        b = d.randint(0, min(20, x))
        seen = ["Subtract {b} from it.", "Now subtract {b}.", "What is that minus {b}?", "Minus {b}?",
                "Take away {b}.", "Subtract {b}."]
        unseen = ["And subtract {b} from it.", "Now take away {b}."]
    steps = working(x, op, b)
    s.number, s.prime = compute(x, op, b), None
    thought = Thought("go on from the last number", "a follow-up sum", (f"The last number was {x}.", *steps))
    return Exchange(d.say(seen, unseen).format(b=b), thought, steps[-1], "follow_up")


def prime(d: Dice, s: Scene) -> Exchange:
    """The largest prime below n, the smallest above n, the next one down, or a test; always one right answer."""
    if s.prime is not None and s.prime > 2 and d.chance(0.7):
        found = PRIMES[PRIMES.index(s.prime) - 1]
        user = d.say(["Another one.", "Give me another one.", "And another one?", "One more.", "Another prime please.",
                      "A different one."], ["Give me one more.", "Another one, please."])
        step = f"{found} is a prime number too."
        s.number = s.prime = found
        return Exchange(user, Thought("give another prime number", "a question about primes", (step,)), step, "prime")
    shape = d.rng.random()
    if shape < 0.62:
        n = d.pick([10, 20, 30, 40, 50, 50, 50, 60, 70, 80, 90, 100, 200, d.randint(3, 120), d.randint(3, 200)])
        found = max(p for p in PRIMES if p < n)
        user = d.say(["Provide a prime number less than {n}", "Give me a prime number less than {n}.",
                      "Name a prime below {n}.", "Tell me a prime number smaller than {n}.",
                      "What is a prime number under {n}?", "A prime number less than {n}, please.",
                      "Pick a prime lower than {n}.", "What is the largest prime below {n}?"],
                     ["Please provide a prime number smaller than {n}.", "Name a prime number less than {n}.",
                      "Can you give me a prime below {n}?"]).format(n=n)
        step = f"{found} is a prime number less than {n}."
    elif shape < 0.78:
        n = d.randint(1, 120)
        found = min(p for p in PRIMES if p > n)
        user = d.say(["Give me a prime number greater than {n}.", "What is the next prime after {n}?",
                      "Name a prime above {n}.", "Provide a prime number larger than {n}"],
                     ["Name a prime number greater than {n}."]).format(n=n)
        step = f"{found} is a prime number greater than {n}."
    else:
        n = d.randint(2, 120)
        user = d.say(["Is {n} a prime number?", "Is {n} prime?", "Is the number {n} a prime?"],
                     ["Is {n} a prime?", "Tell me if {n} is prime."]).format(n=n)
        divisor = next((q for q in PRIMES if n % q == 0 and q < n), None)
        step = f"No, {n} is {divisor} times {n // divisor}." if divisor else f"Yes, {n} is a prime number."
        s.number = s.prime = None
        return Exchange(user, Thought("test a number", "a question about primes", (step,)), step, "prime")
    s.number = s.prime = found
    return Exchange(user, Thought("give a prime number", "a question about primes", (step,)), step, "prime")


def _numbers(values: Iterable[int], separator: str = ", ") -> str:
    return separator.join(map(str, values))


def count(d: Dice, s: Scene) -> Exchange:
    """Counts up or down, in steps, one per line when asked, up to 300 numbers."""
    length = d.pick([3, 5, 8, 10, 10, 12, 15, 20, 20, 25, 30, 40, 50, d.randint(2, 60)])
    if d.chance(0.12):
        length = d.pick([100, 100, 120, 150, 200, 250, 300, d.randint(60, 300)])
    start = 1 if d.chance(0.55) else d.randint(0, 60) if d.chance(0.7) else d.randint(0, 900)
    end, step = start + length - 1, 1
    shape = d.rng.random()
    if shape < 0.15:
        user = d.say(["Count down from {b} to {a}.", "Count backwards from {b} to {a}.",
                      "Do a countdown from {b} to {a}."], ["Please count down from {b} to {a}."])
        values = range(end, start - 1, -1)
    elif shape < 0.25:
        step = d.pick([2, 5, 10])
        start = d.pick([0, 1, step, 2 * step])
        values = range(start, start + step * min(length, 40), step)
        end = values[-1]
        user = d.say([f"Count from {{a}} to {{b}} in steps of {step}.", f"Count by {step} from {{a}} to {{b}}."],
                     [f"Count up from {{a}} to {{b}} in steps of {step}."])
    else:
        seen = ["Count from {a} to {b}.", "Count from {a} up to {b}.", "List the numbers from {a} to {b}.",
                "Write the numbers {a} to {b}.", "Give me all numbers between {a} and {b}.", "Count {a} to {b}",
                "Count slowly from {a} to {b}.", "Write all numbers from {a} to {b}."]
        unseen = ["Please count from {a} to {b}.", "Can you count from {a} to {b}?", "Name the numbers {a} to {b}."]
        if start == 1:
            seen, unseen = seen + ["Count to {b}.", "Count up to {b}."] * 2, [*unseen, "Please count to {b}."]
        user, values = d.say(seen, unseen), range(start, end + 1)
    user, separator = user.format(a=start, b=end), ", "
    if d.chance(0.08):
        user += d.pick([" One number per line.", " Put each number on its own line."])
        separator = "\n"
    elif shape >= 0.25:
        s.counted_to, s.counted_by = end, step
    thought = Thought("count", "a counting task", (f"I start at {values[0]} and stop at {values[-1]}.",))
    return Exchange(user, thought, _numbers(values, separator), "count")
