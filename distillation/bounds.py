"""The bounds of numbers in params.yaml, each with its reason. What only a machine bounds is in ``checks.resources``.

The names in lower case below are types of fields of a ``Section`` (see ``params``), which pydantic checks: a number out
of its bounds is refused by name. Bounds exclude what can only be a slip, such as a count of 10^12, and never what a
paper uses.
"""

from typing import Annotated

from pydantic import Field

MOST = 10**9  # of anything counted: indices fit 32 bits, and so many of the shortest steps take a day
GREATEST = 1e9  # of any rate, weight or temperature: its square and the squares of images stay finite in float32
LARGEST = 4096  # pixels of a side: 16 million pixels, more than any public dataset has
WIDEST = 2**20  # outputs of a layer: sixteen times the widest published one (DINO's 65536)
COPIES = 10**4  # networks or sets of one kind, each a job with a folder: a hundred times the experts of MTT
DEEPEST = 1000  # layers, views, parts and inner rounds, which are unrolled: a hundred times the published ones
MOST_TOGETHER = 256  # networks of a group: ten have most of the gain, and a place costs as much as a network
PROCESSORS = 1024  # threads or processes: more than one machine's processors run at once
WEEK = 7 * 24 * 3600.0  # seconds between checkpoints: rarer ones save nothing that a machine lives to see

Count = Annotated[int, Field(ge=1, le=MOST)]  # images, steps, epochs
Whole = Annotated[int, Field(ge=0, le=MOST)]  # a count that may be 0, a seed
Positive = Annotated[float, Field(gt=0, le=GREATEST)]  # a learning rate, a temperature
Weight = Annotated[float, Field(ge=0, le=GREATEST)]  # a factor that 0 switches off: weight decay, alpha
Width = Annotated[int, Field(ge=1, le=WIDEST)]  # outputs of a layer
Copies = Annotated[int, Field(ge=1, le=COPIES)]  # networks or sets of one kind
Depth = Annotated[int, Field(ge=1, le=DEEPEST)]  # layers, views, parts
Roll = Annotated[int, Field(ge=-LARGEST, le=LARGEST)]  # pixels by which images are shifted, to either side
Processes = Annotated[int, Field(ge=1, le=PROCESSORS)]  # and threads of one
