"""The child that speaks live, which knows toy voices too."""

from __future__ import annotations

import sys

TOY_LIVE = (sys.executable, "-m", "tests.toy_live")

if __name__ == "__main__":
    import tests.tiny  # noqa: F401 -- the toy engine
    from pipelines.live.child import main

    sys.exit(main())
