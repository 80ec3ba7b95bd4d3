"""A tool as the data sees it, and the realistic tools."""

# ruff: noqa: SIM905 (a word list reads better as a sentence)

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from . import results
from .dice import Dice, cap
from .structured import plain

Arguments = dict[str, Any]


@dataclass(slots=True)
class Tool:
    """A function, how people ask for it, what it returns and how the result is told.

    Two tools of the same `topic` are never offered together: which one is right would be a guess.
    """

    name: str
    description: str
    properties: dict[str, dict[str, Any]]
    required: list[str]
    topic: str
    ask: Callable[[Dice], tuple[str, Arguments]]
    result: Callable[[Dice, Arguments], Any]
    answer: Callable[[Arguments, Any], str]
    place_key: str | None = None


def _described(d: Dice, schema: dict[str, Any], *descriptions: str) -> dict[str, Any]:
    return {**schema, "description": d.pick(descriptions)} if d.chance(0.6) else schema


def _unit(d: Dice, required: list[str], properties: dict[str, Any], ask_suffix: list[str],
          arguments: Arguments) -> None:
    """Fills an offered unit: as asked, or left out, or (if required) null or the first choice."""
    schema = properties.get("unit") or properties.get("units")
    key = "unit" if "unit" in properties else "units"
    if schema is None:
        return
    if d.chance(0.4):
        arguments[key] = d.pick([c for c in schema["enum"] if c is not None])
        ask_suffix.append(" in " + arguments[key])
    elif key in required:
        arguments[key] = None if isinstance(schema["type"], list) else schema["enum"][0]


def weather(d: Dice) -> Tool:
    name = d.pick(["get_weather"] * 4 + ["get_current_weather", "weather", "getWeather", "fetch_weather",
                                         "weather_lookup"])
    key = d.pick(["location", "location", "location", "city", "city", "place"])
    properties = {key: _described(d, {"type": "string"}, "The city", "The city and state, e.g. San Francisco, CA",
                                  "City name", "City and country e.g. Bogotá, Colombia", "The location", "A place")}
    required = [key]
    if d.chance(0.35):
        unit: dict[str, Any] = {"type": "string", "enum": ["celsius", "fahrenheit"]}
        unit_key = d.pick(["unit", "unit", "units"])
        if d.chance(0.45):
            required.append(unit_key)
            if d.chance(0.4):
                unit["type"] = ["string", "null"]
        properties[unit_key] = _described(d, unit, "The unit", "Units of the temperature")

    def ask(d: Dice) -> tuple[str, Arguments]:
        place, suffix = d.city(), [""]
        arguments: Arguments = {key: place}
        text = d.say(["What's the weather like in {}", "What is the weather in {}", "How is the weather in {}",
                      "Tell me the weather in {}", "What's the weather in {} today", "Is it raining in {}",
                      "How warm is it in {}", "Weather in {}", "Get the weather for {}", "Is it cold in {}",
                      "What is the weather like in {} right now", "Do I need an umbrella in {}",
                      "What's the temperature in {}", "What is the weather like in {} today",
                      "Check the weather in {}"],
                     ["How's the weather in {}", "What's the current weather in {}", "Can you check the weather in {}",
                      "Tell me what the weather is like in {}"]).format(place)
        _unit(d, required, properties, suffix, arguments)
        return text + suffix[-1] + d.pick(["?", "?", "?", "", "."]), arguments

    return Tool(name, d.pick(["Get the weather for a city", "Get current weather", "Returns the weather",
                              "Get the current weather in a given location", "Get current temperature for a location.",
                              "Determine the weather in a place", "Look up the weather."]),
                properties, required, "weather", ask, lambda d, a: results.weather(d, a[key]),
                lambda a, r: results.weather_report(a[key], r), key)


@dataclass(frozen=True, slots=True)
class Simple:
    """The recipe of a realistic tool: names, descriptions, parameters with value makers, phrasings."""

    topic: str
    names: Sequence[str]
    descriptions: Sequence[str]
    parameters: Sequence[tuple[str, dict[str, Any], Callable[[Dice], Any]]]
    seen: Sequence[str]
    unseen: Sequence[str]
    place_key: str | None = None
    arguments: Callable[[Arguments], Arguments] | None = None

    def make(self, d: Dice) -> Tool:
        properties = {n: _described(d, dict(schema), "The " + n.replace("_", " "), cap(n.replace("_", " ")))
                      for n, schema, _ in self.parameters}

        def ask(d: Dice) -> tuple[str, Arguments]:
            values = {n: make(d) for n, _, make in self.parameters}
            text = d.say(self.seen, self.unseen).format(**{k: plain(v) for k, v in values.items()})
            return text, self.arguments(values) if self.arguments else values

        return Tool(d.pick(self.names), d.pick(self.descriptions), properties, list(properties), self.topic, ask,
                    lambda d, a: results.generic(d, self.topic), lambda a, r: results.report(r), self.place_key)


_STRING, _INTEGER, _NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
_OPERATORS = {" plus ": " + ", " minus ": " - ", " times ": " * ", " divided by ": " / "}


def _expression(d: Dice) -> str:
    operators = ["+", "-", "*", "/"] if d.chance(0.6) else ["plus", "minus", "times", "divided by"]
    return f"{d.randint(1, 9999)} {d.pick(operators)} {d.randint(1, 999)}"


def _symbols(arguments: Arguments) -> Arguments:
    """`12 plus 7` is written `12 + 7` in a call."""
    text = arguments["expression"]
    for word, sign in _OPERATORS.items():
        text = text.replace(word, sign)
    return {"expression": text}


def _path(d: Dice) -> str:
    return d.pick(["", "", "src/", "docs/", d.pseudo(1, 2) + "/", "/tmp/"]) + d.pseudo(1, 2) + d.pick(  # noqa: S108
        [".txt", ".md", ".py", ".json", ".csv"])


_LANGUAGES = "French German Spanish Italian Japanese Dutch Greek Polish".split()
_SIGNS = "Aquarius Taurus Leo Virgo Libra Gemini Aries Pisces Cancer Scorpio".split()
_UNITS = "meters feet miles kilometers pounds kilograms celsius fahrenheit dollars euros yen liters inches".split()

SIMPLE = [
    Simple("time", ["get_time", "get_current_time", "current_time", "time_in"],
           ["Get the time in a city", "Current time in a place", "Tells the current time"],
           [("city", _STRING, Dice.city)],
           ["What time is it in {city}?", "Tell me the time in {city}.", "What is the current time in {city}?",
            "Time in {city}?", "What's the time in {city}?", "How late is it in {city}?"],
           ["Can you tell me the time in {city}?", "What time is it now in {city}?"], "city"),
    Simple("math", ["calculator", "calculate", "eval", "evaluate"],
           ["Evaluate an expression", "A calculator", "Calculates the value of an expression"],
           [("expression", _STRING, _expression)],
           ["Calculate {expression}", "What is {expression}?", "Use the calculator for {expression}.",
            "Compute {expression}.", "How much is {expression}?", "{expression}", "What's {expression}?"],
           ["Can you calculate {expression}?", "Please compute {expression}."], None, _symbols),
    Simple("math", ["add", "sum", "add_numbers"], ["Add two numbers", "Adds a and b"],
           [("a", _INTEGER, Dice.number), ("b", _INTEGER, Dice.number)],
           ["Add {a} and {b}.", "What is {a} plus {b}?", "What is {a} + {b}?", "Use the tool to add {a} and {b}."],
           ["Can you add {a} and {b}?", "How much is {a} plus {b}?"]),
    Simple("math", ["multiply", "mul", "multiply_numbers"], ["Multiply two numbers"],
           [("a", _NUMBER, Dice.number), ("b", _NUMBER, Dice.number)],
           ["Multiply {a} by {b}.", "What is {a} times {b}?", "What is {a} * {b}?"], ["How much is {a} times {b}?"]),
    Simple("search", ["search", "web_search", "search_web", "google"],
           ["Search the web", "Search the internet", "Finds pages about a query"],
           [("query", _STRING, lambda d: d.phrase(1, 4))],
           ["Search for {query}.", "Search the web for {query}", "Look up {query} online.", "Find out about {query}.",
            "Google {query}", "Find information about {query}.", "Do a web search for {query}.", "Search {query}"],
           ["Can you search for {query}?", "Please look up {query}."]),
    Simple("convert", ["convert", "convert_units", "unit_converter", "convert_currency"],
           ["Convert a value from one unit to another", "Converts units", "Convert between units or currencies"],
           [("value", _NUMBER, lambda d: d.randint(1, 999)), ("from_unit", _STRING, lambda d: d.pick(_UNITS)),
            ("to_unit", _STRING, lambda d: d.pick(_UNITS))],
           ["Convert {value} {from_unit} to {to_unit}.", "How many {to_unit} are {value} {from_unit}?",
            "What is {value} {from_unit} in {to_unit}?", "Change {value} {from_unit} into {to_unit}."],
           ["Can you convert {value} {from_unit} to {to_unit}?", "Please convert {value} {from_unit} into {to_unit}."]),
    Simple("message", ["send_message", "send_sms", "message", "text_message"],
           ["Send a message to someone", "Send a text message"],
           [("to", _STRING, Dice.name), ("text", _STRING, lambda d: d.phrase(2, 5))],
           ["Send a message to {to}: {text}", "Tell {to} that {text}", "Message {to} saying {text}",
            "Send {to} the message '{text}'.", "Text {to}: {text}"],
           ["Please send {to} this message: {text}", "Write {to} a message saying {text}"]),
    Simple("email", ["send_email", "sendEmail", "email"], ["Send an email", "Send an email to someone"],
           [("to", _STRING, Dice.email), ("subject", _STRING, lambda d: d.phrase(1, 3)),
            ("body", _STRING, lambda d: d.phrase(2, 5))],
           ["Send an email to {to} with the subject '{subject}' and the body '{body}'.",
            "Email {to} about {subject} and say {body}.", "Write to {to}, subject {subject}, text: {body}"],
           ["Please email {to} with the subject '{subject}' and the text '{body}'."]),
    Simple("stock", ["get_stock_price", "stock_price"], ["Get the stock price for a symbol", "Price of a share"],
           [("symbol", _STRING, lambda d: "".join(d.pick(string.ascii_uppercase) for _ in range(d.randint(2, 4))))],
           ["What is the stock price of {symbol}?", "How much is {symbol} stock?", "Get the price of {symbol}.",
            "What does a share of {symbol} cost?"], ["What's the price of {symbol} stock?"]),
    Simple("timer", ["set_timer", "start_timer"], ["Set a timer", "Start a timer in minutes"],
           [("minutes", _INTEGER, lambda d: d.randint(1, 90))],
           ["Set a timer for {minutes} minutes.", "Start a timer of {minutes} minutes",
            "Remind me in {minutes} minutes."],
           ["Can you set a timer for {minutes} minutes?"]),
    Simple("flight", ["book_flight", "find_flights"], ["Book a flight", "Find a flight between two cities"],
           [("origin", _STRING, Dice.city), ("destination", _STRING, Dice.city)],
           ["Book a flight from {origin} to {destination}.", "I want to fly from {origin} to {destination}.",
            "Get me a flight from {origin} to {destination}"], ["I need a flight from {origin} to {destination}."]),
    Simple("file", ["read_file", "open_file", "cat"], ["Read a file", "Returns the content of a file"],
           [("path", _STRING, _path)],
           ["Read the file {path}.", "What is in {path}?", "Show me {path}", "Open {path}.", "Read {path}"],
           ["Can you read {path}?", "Show me the file {path}."]),
    Simple("horoscope", ["get_horoscope"], ["Get today's horoscope for a sign"],
           [("sign", _STRING, lambda d: d.pick(_SIGNS))],
           ["What is my horoscope? I am an {sign}.", "Tell me the horoscope for {sign}.",
            "What is my horoscope? I'm {sign}.",
            "What is the horoscope of {sign}?"], ["Give me the horoscope for {sign}."]),
    Simple("code", ["run_code", "python", "execute"], ["Run Python code", "Executes code"],
           [("code", _STRING, lambda d: f"print({d.randint(1, 99)} {d.pick('+-*')} {d.randint(1, 99)})")],
           ["Run {code}", "Execute {code}", "Run this code: {code}"], ["Please run {code}"]),
    Simple("shell", ["shell", "bash", "run_command", "terminal"], ["Run a shell command", "Runs a command"],
           [("command", _STRING, lambda d: d.pick([f"ls {_path(d)}", f"cat {_path(d)}", f"rm {_path(d)}", "ls -la",
                                                   f"grep {d.pseudo()} {_path(d)}", f"echo {d.pseudo()}",
                                                   "git status"]))],
           ["Run {command}", "Run the command {command}", "Execute `{command}`", "Run `{command}` in the shell."],
           ["Please run the command {command}", "Can you run `{command}`?"]),
    Simple("dice", ["roll", "roll_dice"], ["Roll dice", "Given an expression like 2d6, rolls the dice"],
           [("diceRollExpression", _STRING,
             lambda d: f"{d.randint(1, 9)}d{d.pick([4, 6, 8, 10, 12, 20])}" + d.pick(["", "", f"+{d.randint(1, 9)}"]))],
           ["Roll {diceRollExpression}", "Roll {diceRollExpression}.", "Please roll {diceRollExpression} for me."],
           ["Can you roll {diceRollExpression}?"]),
    Simple("translate", ["translate", "translate_text"], ["Translate a text", "Translates text into a language"],
           [("text", _STRING, lambda d: d.phrase(1, 4)), ("language", _STRING, lambda d: d.pick(_LANGUAGES))],
           ["Translate {text} into {language}.", "How do you say {text} in {language}?",
            "Translate '{text}' to {language}."], ["Please translate {text} into {language}."]),
    Simple("user", ["get_user", "lookup_user", "find_user"], ["Get a user by id", "Look up a user"],
           [("user_id", _STRING, Dice.ident)],
           ["Get the user {user_id}.", "Look up the user {user_id}", "Who is the user with the id {user_id}?"],
           ["Find the user with the id {user_id}."]),
]
LOOKUPS = {"time", "search", "stock", "horoscope", "user", "math", "weather"}
