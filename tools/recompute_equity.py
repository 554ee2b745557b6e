"""Recompute a backtest's books from its trades and the canonical tables; needs the checkout and Polars alone.

See clstm_core/evaluation/recompute.py, which this calls.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from clstm_core.evaluation.recompute import main

if __name__ == "__main__":
    sys.exit(main())
