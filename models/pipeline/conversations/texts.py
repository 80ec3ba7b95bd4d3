"""Copying words exactly, stories, poems, and longer texts to read."""

# ruff: noqa: SIM905 (a word list reads better as a sentence)

from . import words
from .conversation import Exchange, Scene, Thought
from .dice import Dice, cap, lower_first, with_article
from .filler import paragraph, statement

_TIMES = {2: "two", 3: "three", 4: "four", 5: "five", 10: "ten"}
_SCRIPTS = [(0xC0, 0x17F), (0x391, 0x3C9), (0x410, 0x44F), (0x3041, 0x3090), (0x4E00, 0x4FFF), (0x1F600, 0x1F640)]


def _foreign(d: Dice) -> str:
    """A short string of another script, to keep every byte token alive."""
    low, high = d.pick(_SCRIPTS)
    return "".join(chr(d.randint(low, high)) for _ in range(d.randint(1, 6)))


def _to_copy(d: Dice) -> str:
    shape = d.rng.random()
    if shape < 0.6:
        return d.phrase(1, 6)
    if shape < 0.7:
        return cap(d.phrase(2, 12)) + d.pick([".", "!", "?"])
    if shape < 0.78:
        return d.pick([f"this is {with_article(d.word())}", "this is a test", f"it is {d.word()}",
                       f"that is {d.phrase(1, 3)}",
                       lower_first(statement(d)).rstrip("."), statement(d), f"the {d.word()} is {d.word()}",
                       "I am a robot",
                       f"I like {d.word()}", f"we are {d.phrase(1, 2)}", f"{d.word()} is {d.word()}",
                       f"hello {d.word()}"])
    if shape < 0.85:
        return paragraph(d, d.randint(1, 3))
    if shape < 0.92:
        return d.phrase(0, 2) + d.pick([" ", ""]) + _foreign(d) + d.pick(["", " " + d.word()])
    return d.pick(["This is a test", "ok", "Hello, World!", "yes", "ping", "pong", "hello world", "I am here",
                   f"{d.pseudo(1, 2)}_{d.pseudo(1, 2)} = {d.randint(0, 99)}", f"{d.pseudo()}({d.pseudo()})"])


def repeat(d: Dice, s: Scene) -> Exchange:
    quote = d.pick(["", "", "'", '"'])
    if d.chance(0.12):
        n, text = d.pick([2, 3, 3, 4, 5, 10]), d.phrase(1, 3)
        times = _TIMES[n] if d.chance(0.6) else str(n)
        user = d.say(["Say {t} {w} times.", "Repeat {t} {w} times.", "Write {t} {w} times.", "Say {t} {w} times fast."],
                     ["Please say {t} {w} times."]).format(t=quote + text + quote, w=times)
        thought = Thought("repeat their words", "a text to copy", (f"I say it {times} times.",))
        return Exchange(user, thought, ", ".join([text] * n), "repeat", literal=True)
    text = _to_copy(d).strip()
    user = d.say(["Repeat after me: {}", "Say {}", "Repeat: {}", "Please say this: {}", "Write exactly this: {}",
                  "Say the words {}", "Echo {}", "Reply with {}", "Print {}", "Copy this text: {}",
                  "Reply with exactly: {}", "Answer only with {}", "Type {}", "Output the following: {}",
                  "Say just {}", "Respond with the single line {}", "Return {}", "Say this: {}", "Reply only with {}",
                  "Reply with the single word {}", "Repeat this word for word: {}", "Say exactly: {}", "Write {}",
                  "Write: {}", "Please write {}", "Say: {}", "Give me back {}", "Reply: {}", "Just say {}",
                  "Only say {}", "Reply with just {}", "Answer with {}", "Respond with {}", "Repeat exactly: {}",
                  "Display {}", "Write this text: {}", "Reply with the word {}", "Say the following: {}",
                  "Echo back: {}"],
                 ["Please repeat after me: {}", "Say exactly this: {}", "Copy this: {}", "Please reply with {}",
                  "Repeat the following: {}"])
    shown = text if len(text) < 80 else f"the text that starts with {text[:20].rsplit(' ', 1)[0]}"
    thought = Thought("repeat their words", "a text to copy", (f"I copy this: {shown}",))
    return Exchange(user.format(quote + text + quote), thought, text, "repeat", literal=True)


_PLACES = [*"forest village castle garden valley town meadow island".split(), "small house", "quiet lake"]
_THINGS = "map key lamp crown ring book coin drum kite bell seed stone".split()


def story(d: Dice, s: Scene) -> Exchange:
    """A story of 100 to 250 tokens, about what was asked for."""
    animal, name, friend = d.pick(words.ANIMALS), d.name(), d.pick(words.ANIMALS)
    place, thing = d.pick(_PLACES), d.pick(_THINGS)
    shape = d.rng.random()
    if shape < 0.35:
        user = d.say(["Tell me a story.", "Write a short story.", "Tell me a short story", "Can you tell me a story?",
                      "I want to hear a story.", "Tell me a bedtime story.", "Write me a story.", "Tell a story."],
                     ["Please tell me a story.", "I would like to hear a story."])
        animal, name = d.pick(["fox", "rabbit", "bear", "owl"]), d.pick(["Milo", "Lucy", "Toby", "Ada"])
    elif shape < 0.7:
        user = d.say(["Tell me a story about a {a}.", "Write a short story about a {a}.", "I want a story about a {a}.",
                      "Tell me a bedtime story about a {a}.", "Tell me a short story about a {a}."],
                     ["Can you tell me a story about a {a}?", "Please write a story about a {a}."]).format(a=animal)
        name = d.pick(["Milo", "Lucy", "Toby", "Ada"])
    else:
        user = d.say(["Tell me a story about a {a} called {n}.", "Write a story about a {a} named {n}.",
                      "Tell me a story about {n} the {a}."],
                     ["Can you tell me a story about a {a} called {n}?"]).format(a=animal, n=name)
    thought = Thought("tell a story", "a request for a story",
                      (f"The story is about {with_article(animal)} called {name}.",))
    s.hero = (name, animal)
    if d.chance(0.2):
        count = d.pick(["one", "two", "three"])
        if " story" in user and d.chance(0.6):
            where = next(w for w in (" bedtime story", " short story", " story") if w in user)
            user = user.replace(" a" + where, where).replace(where, f" a {count}{d.pick('- ')}sentence{where}", 1)
            user = user.replace("Write me a", "Write a").replace("Tell story", "Tell a story")
        else:
            user = user.rstrip(".?") + f" in {count} sentence{'s' * (count != 'one')}."
        lines = [f"Once upon a time, {with_article(animal)} called {name} found a golden {thing} in the {place}.",
                 f"{name} gave it back to its owner, and they became friends.",
                 "That night, everyone slept well."]
        return Exchange(user, thought, " ".join(lines[:["one", "two", "three"].index(count) + 1]), "short_story")
    middle = [f"One day, {name} found a {d.pick(words.ADJECTIVES)} {thing} under a tree.",
              f"{name} did not know what to do with the {thing}.",
              f"Then {name} met {with_article(friend)}.",
              f"The {friend} said, \"Hello, {name}! That {thing} belongs to the king.\"",
              f"So {name} and the {friend} walked over the hills for three days.",
              "It was raining, but they were not afraid.",
              f"At last they came to the king and gave him the {thing}.",
              f"The king was very happy and gave them a lot of {d.pick(words.FOODS)}.",
              "They ate it all and laughed until the sun went down.",
              f"{name} said, \"A good friend is better than a {thing}.\""]
    answer = " ".join([f"Once upon a time, there was a {d.pick(words.ADJECTIVES)} {animal} called {name}.",
                       f"{name} lived in a {d.pick(words.ADJECTIVES)} {place}.", *middle,
                       f"Then the {animal} went home to the {place} and slept well.", "The end."])
    return Exchange(user, thought, answer, "story")


def poem(d: Dice, s: Scene) -> Exchange:
    topic = d.phrase(1, 3)
    user = d.say(["Write a haiku about {}.", "Write a poem about {}.", "Write a short poem about {}.",
                  "Compose a haiku about {}.", "Give me a poem about {}."],
                 ["Please write a poem about {}.", "Can you write a haiku about {}?"]).format(topic)
    answer = f"I think of {topic},\nquiet as the morning light,\nand the day begins."
    return Exchange(user, Thought("write a poem", "a request for a poem", (f"The poem is about {topic}.",)), answer,
                    "poem")


def read_this(d: Dice, s: Scene) -> Exchange:
    """A long text to take in: it puts distance between a fact and its recall."""
    text = "\n\n".join(paragraph(d, d.randint(2, 8)) for _ in range(d.pick([1, 2, 3, 5, 10, 20])))
    user = d.say(["Read this text:\n\n{}", "Here is a text for you.\n\n{}", "Take a look at this:\n\n{}"],
                 ["Please read this:\n\n{}"]).format(text)
    return Exchange(user, Thought("read a text", "a text to read"), "I have read it. What would you like to know?",
                    "read", literal=True)
