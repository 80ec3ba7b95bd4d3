"""Facts that the user tells, recalling them later, key-value lists and summaries."""

from collections.abc import Callable
from dataclasses import dataclass

from . import words
from .conversation import Exchange, Scene, Thought
from .dice import Dice, join_and


@dataclass(frozen=True, slots=True)
class Fact:
    """One kind of fact: how it is told and asked, the answer, its clause in a summary, and a value."""

    tell: list[str]
    ask: list[str]
    tell_unseen: list[str]
    ask_unseen: list[str]
    answer: str
    clause: str
    value: Callable[[Dice], str]


def _either(options: list[str], low: int) -> Callable[[Dice], str]:
    return lambda d: d.pick(options) if d.chance(0.6) and not d.held_out else d.pseudo(low, 3)


FACTS = {
    "name": Fact(
        ["My name is {}.", "I am {}.", "I'm called {}.", "Call me {}.", "Hi, I'm {}.", "You can call me {}.",
         "Hello, my name is {}.", "I'm {}.", "This is {}.", "Hey there, I am {}.", "People call me {}.",
         "The name is {}.", "I go by {}.", "You speak with {}."],
        ["What is my name?", "What's my name?", "Do you remember my name?", "Who am I?", "Tell me my name.",
         "Which name did I give you?", "Do you know my name?", "Say my name.", "Can you remember my name?",
         "What do people call me?", "What was my name again?", "How am I called?"],
        ["Hey, my name is {}.", "My first name is {}."], ["Can you tell me my name?", "What was my name?"],
        "Your name is {}.", "your name is {}", Dice.name),
    "colour": Fact(
        ["My favourite colour is {}.", "My favorite color is {}.", "I like the colour {} best.",
         "I love {}, it is my favourite color.", "I like the color {} most.", "My top colour is {}.",
         "{} is my favourite colour.",
         "The colour I love most is {}."],
        ["What is my favourite colour?", "What is my favorite color?", "Which colour do I like?",
         "What colour do I like best?", "Do you remember my favorite color?", "What color do I love most?",
         "Tell me my favourite colour.", "Can you tell me which colour I like?", "Which colour is my favourite?"],
        ["The color I like most is {}.", "My best colour is {}."],
        ["Which color do I like best?", "Do you know my favourite colour?"],
        "Your favourite colour is {}.", "your favourite colour is {}", _either(words.COLOURS, 1)),
    "city": Fact(
        ["I live in {}.", "I am from {}.", "My home is in {}.", "My city is {}.", "I come from {}.",
         "I moved to {}.", "My home town is {}.", "I am based in {}.", "We live in {}.", "{} is my home.",
         "My flat is in {}."],
        ["Where do I live?", "Which city do I live in?", "Where am I from?", "What is my city?",
         "What city am I from?", "Do you remember where I live?", "What is my home town?", "Do you know where I live?",
         "Can you tell me which city I live in?", "Where is my home?", "Say where I live."],
        ["My house is in {}.", "I am living in {}."], ["In which city do I live?", "Tell me where I live."],
        "You live in {}.", "you live in {}", Dice.city),
    "pet": Fact(
        ["I have a pet called {}.", "My pet is named {}.", "My pet's name is {}.", "My dog is called {}.",
         "I named my pet {}.", "Our pet is called {}.", "{} is the name of our pet."],
        ["What is my pet called?", "What is my pet's name?", "What is the name of my pet?",
         "Tell me the name of my pet.", "Do you know what my pet is called?", "How is my pet called?",
         "What did I call my pet?"],
        ["The name of my pet is {}."], ["Do you remember my pet's name?"],
        "Your pet is called {}.", "your pet is called {}", Dice.name),
    "food": Fact(
        ["My favourite food is {}.", "I love to eat {}.", "My favorite food is {}.", "I like eating {}.",
         "I enjoy {} most of all foods.", "{} is my favourite food.", "My best food is {}.", "The food I love is {}."],
        ["What is my favourite food?", "What do I like to eat?", "Which food do I love?", "What is my favorite food?",
         "What food do I like best?", "Do you remember my favourite food?", "Tell me which food I like.",
         "Which food is my favourite?"],
        ["The food I like most is {}."], ["Which food do I like most?"],
        "Your favourite food is {}.", "your favourite food is {}", _either(words.FOODS, 2)),
    "job": Fact(
        ["I work as a {}.", "My job is {}.", "I am a {} by trade.", "I am employed as a {}.", "For work I am a {}.",
         "I earn my money as a {}."],
        ["What is my job?", "What do I do for work?", "What is my profession?", "Do you know my job?",
         "What do I work as?", "Which job do I have?", "Tell me my profession.", "Say what my job is."],
        ["My profession is {}."], ["Tell me what my job is."],
        "You work as a {}.", "you work as a {}", _either(words.JOBS, 2)),
    "age": Fact(
        ["I am {} years old.", "My age is {}.", "I turned {} this year.", "I am {} years of age.", "I just turned {}."],
        ["How old am I?", "What is my age?", "Tell me my age.", "Do you know how old I am?", "What age am I?",
         "Do you remember my age?"],
        ["I am now {} years old."], ["Do you remember how old I am?"],
        "You are {} years old.", "you are {} years old", lambda d: str(d.randint(5, 99))),
    "number": Fact(
        ["My lucky number is {}.", "My favourite number is {}.", "My favorite number is {}.", "I like the number {}.",
         "{} is my favourite number.", "The number I love is {}."],
        ["What is my lucky number?", "What is my favourite number?", "Which number do I like?",
         "What is my favorite number?", "Which number do I like best?", "Tell me my lucky number.",
         "Do you remember my number?", "What number do I love?"],
        ["The number I like best is {}."], ["What number do I like?"],
        "Your favourite number is {}.", "your favourite number is {}", lambda d: str(d.randint(0, 9999))),
    "code": Fact(
        ["The secret word is {}.", "Remember this word: {}.", "The password is {}.", "Remember the code {}.",
         "The code word is {}.", "Please remember {}.", "Remember: {}", "The magic number is {}.",
         "My password is {}.", "The word of the day is {}.", "Do not forget the word {}.", "Store this word: {}."],
        ["What is the secret word?", "What was the word?", "What is the password?", "What was the code?",
         "What did I ask you to remember?", "Which word did I tell you?", "What is the code word?",
         "What is the magic number?", "Which code did I give you?", "Tell me the word.", "Do you remember the word?",
         "What word did I ask you to remember?", "Repeat the secret word.", "Which word did I want you to remember?",
         "Which password did I tell you?"],
        ["Keep this word in mind: {}.", "My secret word is {}."],
        ["Tell me the secret word.", "Which word should you remember?"],
        "The word is {}.", "the word to remember is {}", lambda d: d.word() if d.chance(0.5) else d.ident()),
}
_NOT_TOLD = "I do not know, you have not told me yet."


def tell(d: Dice, s: Scene) -> Exchange:
    """The user states one to three facts."""
    keys = d.sample(list(FACTS), d.pick([1, 1, 1, 2, 3]))
    told = []
    for key in keys:
        fact = FACTS[key]
        value = s.facts[key] = fact.value(d)
        told.append(d.say(fact.tell, fact.tell_unseen).format(value))
    values = join_and([s.facts[key] for key in keys])
    answer = f"Nice to meet you, {s.facts['name']}!" if "name" in keys else f"Got it, I will remember {values}."
    thought = Thought("remember what they say", "a fact about the user", (f"I should remember {values}.",))
    return Exchange(" ".join(told), thought, answer, "fact")


def recall(d: Dice, s: Scene) -> Exchange:
    """A question about a fact told earlier, or never told."""
    key = d.pick(list(s.facts)) if s.facts and not d.chance(0.1) else d.pick(list(FACTS))
    fact = FACTS[key]
    question = d.say(fact.ask, fact.ask_unseen)
    if key in s.facts:
        answer = fact.answer.format(s.facts[key])
        thought = Thought("recall something they told me", "a question about an earlier fact", (answer,))
    else:
        answer = _NOT_TOLD
        thought = Thought("recall something they told me", "a question about an earlier fact",
                          ("They did not tell me that.",))
    return Exchange(question, thought, answer, "recall")


def tell_and_ask(d: Dice, s: Scene) -> Exchange:
    """One to three facts and a question about one of them, in one message."""
    keys = d.sample(list(FACTS), d.pick([1, 1, 2, 3]))
    told = []
    for key in keys:
        s.facts[key] = FACTS[key].value(d)
        told.append(d.say(FACTS[key].tell, FACTS[key].tell_unseen).format(s.facts[key]))
    asked = FACTS[d.pick(keys)]
    key = next(k for k in keys if FACTS[k] is asked)
    answer = asked.answer.format(s.facts[key])
    thought = Thought("recall something they told me", "a fact and a question about it", (answer,))
    return Exchange(" ".join(told) + " " + d.say(asked.ask, asked.ask_unseen), thought, answer, "fact_and_question")


def key_values(d: Dice, s: Scene) -> list[Exchange]:
    """A list of made-up pairs, then a question about each: pure pointing."""
    pairs = {d.pseudo(1, 2): d.word() for _ in range(d.randint(1, 6))}
    user = d.say(["Remember: ", "Here is a list: ", "Note this: ", "Keep in mind: "], ["Remember this list: "])
    user += d.pick([", ", "; ", "\n"]).join(f"{k}{d.pick([' is ', ': ', ' = '])}{v}" for k, v in pairs.items()) + "."
    out = [Exchange(user, Thought("remember a list", "a list to remember"), "Got it.", "fact", literal=True)]
    for key in d.sample(list(pairs), min(len(pairs), 4)):
        question = d.say(["What is {}?", "And {}?", "Tell me {}.", "What is the value of {}?"],
                         ["Which value has {}?", "Now {}?"]).format(key)
        thought = Thought("look up a value", "a question about the list", (f"{key} is {pairs[key]}.",))
        out.append(Exchange(question, thought, pairs[key], "recall", literal=True))
    return out


def _summary_of(facts: dict[str, str]) -> str:
    if not facts:
        return "You have not told me any facts yet."
    return "You told me that " + join_and([FACTS[key].clause.format(value) for key, value in facts.items()]) + "."


def summarise(d: Dice, s: Scene) -> Exchange:
    """One sentence with every fact told so far."""
    user = d.say(
        ["Summarise what we said.", "Summarize what we discussed.", "What did we talk about?",
         "What have we talked about so far?",
         "Summarise this.", "Summarize the chat in a sentence.", "Sum up our conversation.", "Give me a short summary.",
         "Write a summary of the conversation.", "Give me a one sentence summary.", "Recap our conversation.",
         "Recap, please.",
         "Give a summary of what I said.", "Summarize all I told you.", "Which facts did I tell you?",
         "Summary please.",
         "Please give a summary of this chat in one sentence.", "Summarize the conversation so far.",
         "Summarise our conversation.", "Sum up what I told you.",
         "Give me a summary of this conversation.", "What have I told you so far?", "Summarize this chat.",
         "Summarize the conversation so far in one sentence.", "Write a short summary of our chat.",
         "Summarize everything above. Keep every name and number.", "What do you know about me?",
         "Summarize the conversation above so that it can be continued later. Keep names, numbers and decisions."],
        ["Please summarize our conversation so far.", "Summarise what we talked about.",
         "Give a one sentence summary of the conversation."])
    answer = _summary_of(s.facts)
    thought = Thought("summarise the conversation", "a request for a summary", ("I list what they told me.",))
    return Exchange(user, thought, answer, "summary")


def summarise_transcript(d: Dice, s: Scene) -> Exchange:
    """A whole transcript inside one message, to be summarised."""
    keys = d.sample(list(FACTS), d.randint(1, 3))
    facts = {key: FACTS[key].value(d) for key in keys}
    user_label, bot_label = d.pick([("User", "Assistant"), ("user", "assistant"), ("USER", "ASSISTANT")])
    lines = []
    for key in keys:
        lines += [f"{user_label}: {d.say(FACTS[key].tell, FACTS[key].tell_unseen).format(facts[key])}",
                  f"{bot_label}: {d.pick(['Got it.', 'Thank you.', 'Nice to know.', 'Hello!'])}"]
    request = d.say(["Summarize this conversation:", "Summarise the following conversation:",
                     "Write a summary of this transcript:"], ["Give me a summary of this conversation:"])
    thought = Thought("summarise the conversation", "a request for a summary", ("I list what they told me.",))
    text = "\n".join(lines)
    user = f"{request}\n\n{text}" if d.chance(0.7) else f"{text}\n\n{request[:-1]}."
    return Exchange(user, thought, _summary_of(facts), "summary", literal=True)
