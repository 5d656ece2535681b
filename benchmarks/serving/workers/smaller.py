"""A worker without batching: one job at a time, and samples in groups of a given size.

python smaller.py STORE GROUP
"""

import sys
from pathlib import Path

from karat.app.chain import open_store
from karat.app.serving import worker
from karat.app.serving.working import work
from karat.work import generation

if __name__ == "__main__":
    worker.TOGETHER = 1
    generation.GROUPS = (int(sys.argv[2]), int(sys.argv[2]))
    work(open_store(Path(sys.argv[1])), memory=1 << 30)
