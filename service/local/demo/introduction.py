"""The text that introduces the demo to a person who knows nothing of the service."""

from textwrap import fill

from rich.console import Console
from rich.text import Text

MAX_WIDTH = 96  # characters of a line: longer ones are hard to read

WHAT = """\
Callsheet stands between a back end and a provider of generative media. The back end asks for a \
"subject", which is a character or thing that the provider learns from images or a video, to show \
it again in later work. That takes a while, costs money, and goes over a network on which answers \
and callbacks are lost, come late or twice, or are forged."""

WHY = """\
Once Callsheet has accepted a request, the back end need not think about it again: the subject is \
made at the provider once, is followed to its end, and every step is told, signed and in order. \
Here that is put to the test. Twelve subjects are asked for at once, eleven over HTTP and one by \
a job in a queue: four go well, two are refused, and six meet a fault that is made on purpose. \
The back end answers its first delivery of a submission with 500 on purpose, so that it must come \
again."""

HOW = """\
All of it runs on this machine and is real, but for the provider, which is simulated: it has \
places for {parallel} subjects at a time, so the others wait. You see, one after the other: how \
each subject goes, while it goes; when each of its steps was; what the back end was told; and at \
the end, with ✓ or ✗, whether what was promised held."""


def print_introduction(console: Console, parallel: int) -> None:
    """Print the text in lines of MAX_WIDTH at most; `parallel` is the provider's limit."""
    width = min(console.width, MAX_WIDTH)
    console.print(Text("What this shows", "bold"))
    for paragraph in (WHAT, WHY, HOW.format(parallel=parallel)):
        console.print(Text(f"{fill(paragraph, width)}\n"))
