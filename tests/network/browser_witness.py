"""witness.py's part on npm's livekit-client in Chromium, page and browser in this one's namespace."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "interop" / "browser"))
from chromium_peer import main

DIARY = Path(__file__).with_name("diary.js")

if __name__ == "__main__":
    asyncio.run(main(script=DIARY, ready="window.peer?.recovers !== undefined"))
