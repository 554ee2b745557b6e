"""`python -m clstm_core.train`: the trainer's command line."""

import os

from clstm_core.train.command import INTERRUPTED, main

code = main()
if code == INTERRUPTED:  # Python would wait for what the helper still learns, and nobody wants that any more
    os._exit(code)
raise SystemExit(code)
