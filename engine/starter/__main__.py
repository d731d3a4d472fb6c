"""The process of one training: `python -m engine.starter ID`. It outlives the server that started it."""

import sys

from engine.starter import work
from engine.store.workspace import Workspace

work(sys.argv[1], Workspace().home)
