"""`python3 -m gpu COMMAND ARGUMENTS…`; the node's root is GPU_SIMULATOR_ROOT, by default "/"."""

import os
import sys
from pathlib import Path

from .commands import run


def main() -> int:
    if len(sys.argv) < 2:
        print("usage: python3 -m gpu COMMAND [ARGUMENT…]", file=sys.stderr)
        return 2
    answer = run(sys.argv[1], sys.argv[2:], Path(os.environ.get("GPU_SIMULATOR_ROOT", "/")))
    sys.stdout.write(answer.out)
    sys.stderr.write(answer.err)
    return answer.rc


if __name__ == "__main__":
    sys.exit(main())
