"""One worker process of a study: python -m calprune.study.worker FOLDER KNOBS, as `runner` starts it."""

import json
import sys
from pathlib import Path

from calprune.base.values import UserError
from calprune.studies.folder import Runs
from calprune.studies.runner import work
from calprune.studies.session import Knobs


def main(folder: str, knobs: str) -> int:
    given = json.loads(knobs)
    given["data_root"] = Path(given["data_root"]) if given["data_root"] else None
    try:
        for _ in work(Runs(Path(folder)), Knobs(**given)):
            pass
    except UserError as e:
        print(f"calprune: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
