"""Known lists, capitals, opposites, what comes next, and going on with the last thing."""

from . import words
from .conversation import Exchange, Scene, Thought
from .dice import Dice, join_and

_NUMBER_WORDS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine", 10: "ten"}


def known_list(d: Dice, s: Scene) -> Exchange:
    title = d.pick(list(words.LISTS))
    items = words.LISTS[title]
    user = d.say(["List the {}.", "Name the {}.", "What are the {}?", "Tell me the {}.", "Give me the {}.",
                  "Write down the {}.", "Can you list the {}?", "Name all the {}."],
                 ["Please list the {}.", "Can you name the {}?", "Write the {}."]).format(title)
    if d.chance(0.25):
        user = user[:-1] + d.pick([" as a list.", " as a bullet list.", " in a bullet list.", " as a markdown list."])
        answer = "\n".join(f"- {item}" for item in items)
    else:
        answer = ", ".join(items)
    thought = Thought(f"list the {title}", "a request for a list", (f"There are {len(items)} of them.",))
    return Exchange(user, thought, answer, "list")


def some_of(d: Dice, s: Scene) -> Exchange:
    """The first n of a plain list: "Name three animals"."""
    title = d.pick(list(words.PLAIN_LISTS))
    n = d.randint(2, 10 if len(words.PLAIN_LISTS[title]) >= 10 else 5)
    items = words.PLAIN_LISTS[title][:n]
    count = _NUMBER_WORDS[n] if d.chance(0.6) else str(n)
    user = d.say(["Name {n} {t}.", "List {n} {t}.", "Give me {n} {t}.", "Tell me {n} {t}.", "Write down {n} {t}."],
                 ["Please name {n} {t}.", "Can you list {n} {t}?"]).format(n=count, t=title)
    thought = Thought(f"name {count} {title}", "a request for a list", (f"I need {count} of them.",))
    if d.chance(0.25):
        user = user[:-1] + d.pick([", one per line.", " as a numbered list.", " in a numbered list."])
        numbered = "numbered" in user
        answer = "\n".join(f"{i}. {item}" if numbered else item for i, item in enumerate(items, 1))
    else:
        answer = ", ".join(items)
    return Exchange(user, thought, answer, "list")


def capital(d: Dice, s: Scene) -> Exchange:
    country, city = d.pick(list(words.CAPITALS.items()))
    user = d.say(["What is the capital of {}?", "Name the capital of {}.", "Which city is the capital of {}?",
                  "Tell me the capital of {}.", "What's the capital of {}?", "What is the capital city of {}?"],
                 ["Do you know the capital of {}?", "Please tell me the capital of {}.",
                  "What city is the capital of {}?"]).format(country)
    step = f"The capital of {country} is {city}."
    return Exchange(user, Thought("name a capital", "a question about a country", (step,)), step, "capital")


def country_of(d: Dice, s: Scene) -> Exchange:
    country, city = d.pick(list(words.CAPITALS.items()))
    user = d.say(["{} is the capital of which country?", "Which country has the capital {}?"],
                 ["Which country's capital is {}?"]).format(city)
    step = f"{city} is the capital of {country}."
    return Exchange(user, Thought("name a country", "a question about a city", (step,)), step, "capital")


def opposite(d: Dice, s: Scene) -> Exchange:
    word, other = d.pick(list(words.OPPOSITES.items()))
    user = d.say(["What is the opposite of {}?", "Give me the opposite of {}.", "Name the opposite of {}."],
                 ["Tell me the opposite of {}."]).format(word)
    step = f"The opposite of {word} is {other}."
    return Exchange(user, Thought("name an opposite", "a question about a word", (step,)), step, "list")


def what_comes_next(d: Dice, s: Scene) -> Exchange:
    series = d.pick([words.DAYS, words.MONTHS])
    after = d.chance(0.7)
    i = d.randint(0, len(series) - 2)
    first, second = (series[i], series[i + 1]) if after else (series[i + 1], series[i])
    relation = "after" if after else "before"
    user = d.say([f"What comes {relation} {{}}?", f"Which one comes {relation} {{}}?", f"What is {relation} {{}}?"],
                 [f"Tell me what comes {relation} {{}}."]).format(first)
    step = f"{second} comes {relation} {first}."
    return Exchange(user, Thought("name what comes next", "a question about time", (step,)), step, "list")


def largest(d: Dice, s: Scene) -> Exchange:
    """Compares or sorts numbers of the message."""
    values = d.sample(range(1, 100), d.randint(2, 6))
    text = join_and([str(v) for v in values]) if d.chance(0.5) else ", ".join(map(str, values))
    shape = d.pick(["largest", "smallest", "sort"])
    if shape == "sort":
        user = d.say(["Sort these numbers: {}.", "Sort {}.", "Put these numbers in order: {}", "Sort the numbers {}.",
                      "Order these numbers: {}", "Arrange {} from small to large.", "Sort this list: {}"],
                     ["Please sort these numbers: {}."]).format(text)
        answer = ", ".join(map(str, sorted(values)))
        thought = Thought("sort numbers", "a sorting task", (f"The smallest is {min(values)}.",))
    else:
        user = d.say([f"What is the {shape} of {{}}?", f"Which number is the {shape}: {{}}?",
                      f"Find the {shape} of {{}}.", f"What is the {shape} number of {{}}?",
                      f"Tell me the {shape} of {{}}.", f"Name the {shape} number: {{}}"],
                     [f"Which is the {shape} of {{}}?"]).format(text)
        answer = f"The {shape} is {max(values) if shape == 'largest' else min(values)}."
        thought = Thought("compare numbers", "a question about numbers", (answer,))
    return Exchange(user, thought, answer, "compare")


def go_on(d: Dice, s: Scene) -> Exchange:
    """"Continue": ten more numbers after a count, more story after a story, else a question back."""
    user = d.say(["Continue.", "Go on.", "Keep going.", "continue", "Continue", "More, please.", "And then?",
                  "Proceed.", "Go ahead.", "Next.", "More.", "Continue from there.", "And on?", "Keep on.",
                  "Do go on.", "Continue where you stopped.", "Resume."],
                 ["Please continue.", "Please go on.", "Carry on."])
    if s.counted_to is not None:
        first = s.counted_to + s.counted_by
        values = [first + k * s.counted_by for k in range(10)]
        s.counted_to = values[-1]
        thought = Thought("count on", "a request to go on", (f"The last number was {first - s.counted_by}.",))
        return Exchange(user, thought, ", ".join(map(str, values)), "continue")
    if s.hero is not None:
        name, animal = s.hero
        answer = (f"The next morning, {name} the {animal} woke up early. The sun was shining, and a friend was waiting "
                  f"at the door. \"Let us go for a walk,\" said the friend. {name} smiled and went along, and they "
                  "were happy all day long.")
        s.hero = None
        thought = Thought("go on with the story", "a request to go on", (f"The story is about {name}.",))
        return Exchange(user, thought, answer, "continue")
    return Exchange(user, Thought("go on", "a request to go on"),
                    "I have said all I know about that. What would you like to do next?", "continue")
