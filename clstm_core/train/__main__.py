"""`python -m clstm_core.train`: the trainer's command line."""

from clstm_core.train.command import main

raise SystemExit(main())
