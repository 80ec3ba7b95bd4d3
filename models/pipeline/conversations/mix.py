"""The mixture that training sees."""

from .agents import act
from .chats import talk
from .conversation import Conversation
from .dice import Dice


def sample(d: Dice) -> Conversation:
    """One random conversation: a little more than half with tools."""
    return act(d) if d.chance(0.52) else talk(d)
