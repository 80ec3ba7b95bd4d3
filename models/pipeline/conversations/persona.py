"""System prompts: personas, names, fixed openings and endings, facts about the user, and some that change nothing."""

from .conversation import Scene
from .dice import Dice, cap
from .filler import guidelines
from .memory import FACTS

PERSONAS = {
    "pirate": ("Arr! ", " Yo ho ho!"), "robot": ("Beep boop. ", " Beep."), "wizard": ("By my beard! ",
                                                                                      " So say the stars."),
    "cowboy": ("Howdy, partner! ", " Yeehaw!"), "chef": ("Bon appetit! ", " Delicious!"), "cat": ("Meow! ", " Purr."),
    "knight": ("My liege! ", " For honour!"), "poet": ("Oh, sweet day! ", " So sings my heart."),
}
_NEUTRAL = ["You are a helpful assistant.", "Be brief.", "You are helpful, kind and honest.",
            "Answer the questions of the user.", "You are a friendly assistant.", "You only respond in English.",
            "You are a helpful assistant. Answer in short sentences.", "Be concise.", "Respond politely.",
            "You are a coding assistant.", "You are a helpful agent.", "Talk to the user and help them.",
            "Use plain text.", "You are ChatGPT, a large language model.", "Help the user.", "Think before you answer."]
_NEUTRAL_UNSEEN = ["You are a very helpful assistant.", "Be brief and kind.", "Answer shortly.",
                   "You are an assistant."]


def prompt(d: Dice, s: Scene) -> str:
    """A system prompt; sets what it means in the scene."""
    shape = d.rng.random()
    if shape < 0.22:
        return neutral(d)
    if shape < 0.52:
        kind = d.pick(list(PERSONAS))
        s.prefix, s.suffix = PERSONAS[kind]
        if d.chance(0.35):
            s.bot = d.name()
            text = d.say(["You are a {p} named {n}.", "Your name is {n} and you talk like a {p}.",
                          "You are {n}, a {p}.",
                          "You are {n} the {p}."],
                         ["You are a {p} called {n}.", "Your name is {n} and you are a {p}."]).format(p=kind, n=s.bot)
        else:
            text = d.say(["You are a {p}.", "Talk like a {p}.", "You are a friendly {p}.", "Answer like a {p}.",
                          "You speak like a {p}.", "Always talk like a {p}.", "You are a coding assistant that talks "
                          "like a {p}.", "Respond as a {p}.", "You are a helpful {p}.", "Pretend to be a {p}.",
                          "Speak as a {p} would.", "You play a {p}.", "Answer in the style of a {p}.",
                          "Reply like a {p}.", "You are an old {p}.", "Imagine you are a {p}.", "Your role is a {p}."],
                         ["Please talk like a {p}.", "You are a {p}, so speak like one.", "Act like a {p}."])
            text = text.format(p=kind)
    elif shape < 0.64:
        s.bot = d.name()
        text = d.say(["Your name is {n}.", "You are {n}, a helpful assistant.", "You are an assistant called {n}.",
                      "You are {n}."], ["You are an assistant named {n}.", "Your name is {n}. Help the user."])
        text = text.format(n=s.bot)
    elif shape < 0.76:
        ending = d.phrase(1, 2)
        s.suffix = " " + ending
        text = d.say(["Always end your answer with {w}.", "End every answer with: {w}", "Finish each reply with {w}.",
                      "End every reply with the words {w}.", "Every answer must end with {w}.",
                      "Close each message with {w}.", "At the end of each answer, write {w}.",
                      "Your replies always end with {w}.", "Put {w} at the end of every reply."],
                     ["Always finish your answer with {w}.", "End each reply with {w}."]).format(w=ending)
    elif shape < 0.86:
        opening = cap(d.word())
        s.prefix = opening + " "
        text = d.say(["Always start your answer with {w}.", "Begin every answer with: {w}",
                      "Start each reply with {w}.",
                      "Start every reply with the word {w}.", "Every answer must start with {w}.",
                      "Open each message with {w}.", "At the start of each answer, write {w}.",
                      "Your replies always begin with {w}.", "Put {w} at the beginning of every reply.",
                      "The first word of every answer is {w}."],
                     ["Always begin your answer with {w}.", "Begin each reply with {w}."]).format(w=opening)
    else:
        key = d.pick(["name", "city"])
        value = s.facts[key] = FACTS[key].value(d)
        text = (d.say(["The user's name is {}.", "The user is called {}.", "You are talking to {}."],
                      ["The name of the user is {}."]) if key == "name" else
                d.say(["The user lives in {}.", "The user is from {}."], ["The home of the user is {}."])).format(value)
    if d.chance(0.2):
        text = d.pick([f"{d.pick(_NEUTRAL)} {text}", f"{text} {d.pick(_NEUTRAL)}"])
    elif d.chance(0.08):
        text = d.pick([f"{guidelines(d, d.randint(2, 30))}\n\n{text}", f"{text}\n\n{guidelines(d, d.randint(2, 30))}"])
    return text


def neutral(d: Dice) -> str:
    """A system prompt that changes no answer: a line, or pages of rules."""
    if d.chance(0.7):
        return d.say(_NEUTRAL, _NEUTRAL_UNSEEN)
    return guidelines(d, d.weighted([3, 6, 10, 20, 40, 80, 160, 320, 640, 900], [8, 8, 8, 8, 6, 5, 4, 3, 2, 1]))
