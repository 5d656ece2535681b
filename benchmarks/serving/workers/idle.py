"""A worker whose models compute nothing: what is left is what serving takes.

python idle.py STORE
"""

import sys
from pathlib import Path

import torch

from karat.app.chain import open_store
from karat.app.serving import writing
from karat.app.serving.working import work

if __name__ == "__main__":
    writing.embedded = lambda ready, ids: torch.zeros(8)
    work(open_store(Path(sys.argv[1])), memory=1 << 30)
