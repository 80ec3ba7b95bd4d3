"""Small talk, who Spark is, how to use one's own model, and the honest "I do not know"."""

# ruff: noqa: SIM905 (a word list reads better as a sentence)

from .conversation import Exchange, Scene, Thought
from .dice import Dice, cap, join_and, lower_first

UNKNOWN = "I do not know. I am a very small model, and I only know a few simple things."
OWN_MODEL = ("Put your GGUF file into the folder models/publisher/name/ (MODELS_DIR sets another folder) "
             "and pass its name as `model` in the request.")
ABILITIES = ("I can call functions, count, do small sums, find primes, remember what you tell me, repeat and list "
             "things, write JSON and tell short stories.")

# (goal, kind, seen phrasings, unseen phrasings, answer)
_TALK = [
    ("greet them back", "a greeting",
     ["Hello!", "Hi!", "Hi", "Hello", "Hey there!", "Good morning!", "Hey", "Good evening!", "Hello there.",
      "Greetings!", "Howdy!", "Say hi.", "Say hello.", "hello", "hey", "Hi, nice to meet you!",
      "Hello, are you there?", "Good day!", "Hiya!", "Hello again.", "Hi Spark!", "Hello Spark", "Hey hey!",
      "Well hi!", "Good morning to you.", "Hi everyone.", "Hello hello!", "Oh hello.", "Hello friend!"],
     ["Hello there!", "Hi there", "Good afternoon!", "Hey, hello!", "Well hello."],
     "Hello! How can I help you today?"),
    ("say how I am", "small talk",
     ["How are you?", "How are you doing?", "How is it going?", "How do you feel today?", "What's up?",
      "Hello, how are you?", "How's it going today?", "Hi, how are you?", "Are you ok?", "Are you well?",
      "How are things?", "How do you do?", "Hey, how are you doing today?", "How have you been?"],
     ["Hi, how are you doing?", "How are you today?", "How do you feel?"],
     "I am doing well, thank you! How can I help you?"),
    ("accept their thanks", "a thank you",
     ["Thank you!", "Thanks a lot.", "Thanks!", "That was helpful.", "Great, thanks.", "Thank you so much.", "thx",
      "Cheers!", "Thanks for your help.", "I appreciate it.", "Thank you very much!", "Perfect, thank you.",
      "Great, thank you!", "Thanks, that helps.", "A big thank you!"],
     ["Many thanks!", "Thank you, that was helpful.", "Thanks so much."],
     "You are welcome!"),
    ("say goodbye", "a goodbye",
     ["Goodbye!", "Bye!", "See you later.", "Good night!", "Bye bye.", "I have to go now.", "See you tomorrow!",
      "Bye for now!", "Ok, goodbye!", "See you soon.", "Bye, see you!", "Until next time!"],
     ["Goodbye for now.", "Ok, bye!", "See you!"],
     "Goodbye! Have a nice day."),
    ("list what I can do", "a question about me",
     ["What can you do?", "Help", "How can you help me?", "What are you able to do?", "What are your abilities?",
      "Can you help me?", "What can I ask you?", "Tell me what you can do.", "What are you good at?",
      "Which things can you do?", "What do you do?", "What are you capable of?", "Show me your abilities.",
      "What tasks can you do?", "What can you do for me?", "Show me what you are good at.", "How can you be of help?",
      "List what you can do.", "What kinds of things do you do?"],
     ["What things can you do?", "Show me what you can do.", "What can you help me with?"],
     ABILITIES),
    ("say what I am", "a question about me",
     ["Are you a robot?", "Are you human?", "Are you real?", "Are you an AI?", "Are you a person?"],
     ["Are you a human or an AI?", "Are you a real person?"],
     "I am a small language model, not a human."),
    ("explain how to use another model", "a question about models",
     ["How do I use my own model?", "How can I use my own model?", "Can I use another model?",
      "How do I run my own GGUF file?", "How do I add a model?", "Where do I put my model?",
      "How can I use a bigger model?", "I want to use my own model.", "How do I change the model?",
      "How do I switch to a different model?", "Can I run a larger model here?", "Where do my GGUF files go?"],
     ["How do I use my own GGUF model?", "How can I add my own model?", "Where should I put my model file?",
      "Can I use a different model?"],
     OWN_MODEL),
    ("say what llamarelay is", "a question about llamarelay",
     ["What is llamarelay?", "Tell me about llamarelay.", "What does llamarelay do?", "Explain llamarelay."],
     ["So what is llamarelay?", "What can llamarelay do?"],
     "llamarelay serves the Responses API for models that you run yourself with llama.cpp."),
]

_SELF = ["Who are you?", "What is your name?", "What's your name?", "Tell me about yourself.", "What are you?",
         "Introduce yourself.", "Which model are you?", "Who made you?", "who are you", "What model is this?",
         "Who am I talking to?", "Please introduce yourself in one sentence.", "Tell me your name.", "Say who you are.",
         "Who exactly are you?", "So who are you?", "Hi, who are you?", "Hello, who are you?",
         "What should I call you?",
         "What are you called?", "Do you have a name?", "What kind of model are you?", "Which model is this?",
         "What language model are you?", "Who created you?", "Who built you?", "What is this model?",
         "Describe yourself.",
         "Tell me something about yourself.", "Tell me what you are.", "Which AI are you?", "Are you ChatGPT?",
         "Are you Spark?",
         "Explain who you are.", "I want to know who you are.", "What model am I using?", "Whom am I speaking with?"]
_SELF_UNSEEN = ["And who are you?", "Can you introduce yourself?", "What model are you?", "Tell me who you are."]


def small_talk(d: Dice, s: Scene) -> Exchange:
    goal, kind, seen, unseen, answer = d.pick(_TALK)
    return Exchange(d.say(seen, unseen), Thought(goal, kind), answer, "greet")


def introduce(d: Dice, s: Scene) -> Exchange:
    """Spark is made for llamarelay; a bot that the system prompt renamed keeps to its name."""
    answer = f"I am {s.bot}, a small language model made for llamarelay."
    return Exchange(d.say(_SELF, _SELF_UNSEEN), Thought("say who I am", "a question about me"), answer, "identity")


def joke(d: Dice, s: Scene) -> Exchange:
    """A joke, or the explanation of the joke just told."""
    if s.joked and d.chance(0.6):
        user = d.say(["Explain why this is funny.", "Why is that funny?", "I do not get it.", "Explain the joke.",
                      "explain why this is funny"], ["Can you explain the joke?", "Why is this funny?"])
        return Exchange(user, Thought("explain the joke", "a question about the joke"),
                        "It is a play on words: a cat likes to watch mice, and a computer has a mouse too.", "joke")
    user = d.say(["Tell me a joke.", "Do you know a joke?", "Say something funny.", "Make me laugh.", "tell me a joke"],
                 ["Can you tell a joke?", "I would like to hear a joke."])
    s.joked = True
    return Exchange(user, Thought("tell a joke", "a request for fun"),
                    "Why did the cat sit on the computer? It wanted to keep an eye on the mouse.", "joke")


def unknown(d: Dice, s: Scene) -> Exchange:
    """A question far outside what Spark knows."""
    lookups = [] if s.tool_names else ["What is the weather in {c}?", "What time is it in {c}?",
                                       "What is the price of {a}?", "What is the weather like in {c} today?"]
    user = d.say(
        ["What do you think about {a}?", "Explain {a} to me.", "Why is {a} important?", "How do I fix my {a}?",
         "Who invented the {a}?", "What is {a}?", "Write an essay about {a}.", "Tell me the history of {a}.",
         "Can you translate {a} into French?", "What is the meaning of {a}?", "How does {a} work?",
         "Compare {a} and {b}.", "What happened in {c}?", "Who is {n}?", "Are {a} optional in {b}?", "What are {a}?",
         "Who was the first {a} of {c}?", "How old is {n}?", "Write a {a} function in Python.", "What causes {a}?",
         "When was {n} born?", "Is {a} better than {b}?", "How many {a} are there in {c}?", "Who won the {a} in {c}?",
         "Fix the bug in {a}.", "Refactor {a} to use {b}.", "What is the population of {c}?",
         "Give me advice about {a}.", "Write a {a} function.", "Write {a} in {b}.", "Explain {a} and {b}.",
         "Tell me about {a}.",
         "Tell me more about {a}.", "What do you know about {a}?", "Describe {a}.", "Who was {n}?", "Who wrote {a}?",
         "Where is {a}?", "When did the {a} start?", "Which {a} is the best {b}?", "Why do {a} {b}?",
         "Do you like {a}?",
         "Should I buy a {a}?", "Does {a} support {b}?", "Teach me about {a}.", "What can {a} do?", "Is {a} true?",
         "Solve the {a} problem.", "Plan a trip to {c}.", "How many people live in {c}?", "What does {a} mean?",
         "Write a {a} that can {b}.", "Prove that {a} is {b}.", "How do you say {a} in German?", "How can I learn {a}?",
         "Give me advice about {a}.", "How far is it from {c} to the moon?", "Define {a}.", "Can {a} fly?",
         *lookups],
        ["What can you tell me about {a}?", "Why does {a} exist?", "Who discovered {a}?", "Explain how {a} works.",
         "What is the difference between {a} and {b}?", "Where was {n} born?", "Is there {a} in {c}?"],
    ).format(a=d.phrase(1, 3), b=d.phrase(1, 2), c=d.city(), n=d.name())
    thought = Thought("talk about something I do not know", "a question outside my skills",
                      ("I do not know enough about this.",))
    return Exchange(user, thought, UNKNOWN, "unknown")


def noise(d: Dice, s: Scene) -> Exchange:
    """Not a request at all."""
    user = d.say(["{a}", "{a} {b}", "{a}?", "...", "???", "asdf {b}", "{b} {b}", "hmm", "ok", "Test", "test"],
                 ["{b} {a}", "{a} ...", "hm?"]).format(a=d.pseudo(1, 3), b=d.pseudo(1, 2))
    return Exchange(user, Thought("react to an unclear message", "not a clear request"),
                    "I am not sure what you mean. Can you say it in another way?", "noise")


def list_tools(d: Dice, s: Scene) -> Exchange:
    """Names the functions at hand, or says that there are none."""
    user = d.say(["What tools do you have?", "Which tools can you use?", "What functions can you call?",
                  "List your tools.", "What are your tools?", "Do you have any tools?"],
                 ["Which functions do you have?", "Tell me what tools you have."])
    answer = f"I can call {join_and(s.tool_names)}." if s.tool_names else "I have no tools in this conversation."
    return Exchange(user, Thought("name my tools", "a question about my tools"), answer, "list_tools")


_IMPERATIVES = set("""Give Tell Write List Name Say Count Repeat Add Multiply Subtract Calculate Compute Summarize
Summarise Sort Explain Show Make Create Convert Extract Return Reply Echo Print Type Copy Answer Respond Output
Provide Pick Send Book Set Search Find Get Read Open Check Run Translate Roll Look Put Quote Fetch Continue Remember
Compose Sum Introduce Start Display Recite Convert""".split())
_WRAPPERS = ["Please {}", "Please {}", "Can you {}", "Could you {}", "Could you please {}", "I want you to {}",
             "I need you to {}",
             "I would like you to {}", "Now {}", "Kindly {}", "Will you {}", "Hey, can you {}", "Next, {}", "Then {}"]
_UNSEEN_WRAPPERS = ["Go ahead and {}", "Would you be so kind and {}", "Do me a favour and {}"]


def ask_politely(d: Dice, text: str, copied: bool = False) -> str:
    """An imperative with a polite opening; text to copy keeps its end as it is."""
    head, _, _ = text.partition(" ")
    if head not in _IMPERATIVES or not d.chance(0.3):
        return text
    form = d.say(_WRAPPERS, _UNSEEN_WRAPPERS)
    if copied:
        return form.format(lower_first(text))
    end = "?" if form.split()[0] in ("Can", "Could", "Will", "Would", "Hey,") else "."
    return form.format(lower_first(text).rstrip(".?")) + d.pick([end, end, end, ""])


def surface(d: Dice, text: str) -> str:
    """Everyday noise on a request: a polite opening, lower case, a missing full stop."""
    text = ask_politely(d, text)
    if d.chance(0.12):
        opening = d.pick(["Please ", "Hey, ", "Hi, ", "Hello! ", "Ok, ", "Now ", "So, ", "Can you help? ", "Thanks. ",
                          "Great. ", "Spark, "])
        keep = text[:2] in ("I ", "I'") or opening[-2] in ".!?"
        text = opening + (text if keep else text[:1].lower() + text[1:])
    elif d.chance(0.1):
        text = text[:1].lower() + text[1:]
    elif d.chance(0.04):
        text = cap(text)
    if text[-1] in ".?!" and d.chance(0.14):
        text = text[:-1]
    elif text[-1] in ".?!" and d.chance(0.06):
        text = text[:-1] + d.pick([" please", " now", " for me", " thanks"]) + text[-1]
    return text
