"""Runs the command; an error that is ours ends with status 70 and its traceback."""

import sys
import traceback

from mechsweep_analysis.command import main

INTERRUPTED = 5
INTERNAL = 70

if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception:
        traceback.print_exc()
        sys.exit(INTERNAL)
