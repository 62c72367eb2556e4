"""Which client is joining: its `ClientInfo`, completed from the User-Agent of browsers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from livekit.protocol.models import ClientInfo

_SDKS = {
    "js": ClientInfo.JS,
    "ios": ClientInfo.SWIFT,
    "swift": ClientInfo.SWIFT,
    "android": ClientInfo.ANDROID,
    "flutter": ClientInfo.FLUTTER,
    "go": ClientInfo.GO,
    "unity": ClientInfo.UNITY,
    "reactnative": ClientInfo.REACT_NATIVE,
    "rust": ClientInfo.RUST,
    "python": ClientInfo.PYTHON,
    "cpp": ClientInfo.CPP,
    "unityweb": ClientInfo.UNITY_WEB,
    "node": ClientInfo.NODE,
    "esp32": ClientInfo.ESP32,
}
_IN_BROWSERS = frozenset(
    {ClientInfo.JS, ClientInfo.REACT_NATIVE, ClientInfo.FLUTTER, ClientInfo.UNITY, ClientInfo.UNKNOWN}
)

# In this order: Edge and Opera call themselves Chrome too, and Chrome calls itself Safari.
_BROWSERS = (
    ("Edge", re.compile(r"Edg(?:e|A|iOS)?/([\d.]+)")),
    ("Opera", re.compile(r"OPR/([\d.]+)")),
    ("Firefox iOS", re.compile(r"FxiOS/([\d.]+)")),
    ("Firefox", re.compile(r"Firefox/([\d.]+)")),
    ("Chrome Mobile iOS", re.compile(r"CriOS/([\d.]+)")),
    ("HeadlessChrome", re.compile(r"HeadlessChrome/([\d.]+)")),
    ("Chrome", re.compile(r"Chrom(?:e|ium)/([\d.]+)")),
    ("Mobile Safari", re.compile(r"Version/([\d.]+).* Mobile/\S+ Safari/")),
    ("Safari", re.compile(r"Version/([\d.]+).* Safari/")),
    ("OBS Studio", re.compile(r"OBS-Studio/([\d.]+)")),
)
_SYSTEMS = (
    ("Windows", re.compile(r"Windows NT ([\d.]+)")),
    ("iOS", re.compile(r"(?:iPhone|CPU) OS ([\d_]+)")),
    ("Android", re.compile(r"Android ([\d.]+)")),
    ("Mac OS X", re.compile(r"Mac OS X ([\d_.]+)")),
    ("Chrome OS", re.compile(r"CrOS \S+ ([\d.]+)")),
    ("Linux", re.compile(r"Linux()")),
)


def client_from_query(query: Mapping[str, str]) -> ClientInfo:
    """Reads the query parameters of `/rtc`."""
    known = ClientInfo.Capability.keys()
    names = (name.strip() for name in query.get("capabilities", "").split(","))
    return ClientInfo(
        sdk=_SDKS.get(query.get("sdk", ""), ClientInfo.UNKNOWN),
        protocol=_number(query.get("protocol", "")),
        client_protocol=_number(query.get("client_protocol", "")),
        version=query.get("version", ""),
        os=query.get("os", ""),
        os_version=query.get("os_version", ""),
        browser=query.get("browser", ""),
        browser_version=query.get("browser_version", ""),
        device_model=query.get("device_model", ""),
        network=query.get("network", ""),
        capabilities=[name for name in names if name in known],
    )


def complete_client(client: ClientInfo, user_agent: str, address: str) -> None:
    """Fills in what SDKs that run in browsers leave to the User-Agent."""
    client.address = address
    if client.sdk not in _IN_BROWSERS:
        return
    if not client.browser:
        client.browser, client.browser_version = _find(_BROWSERS, user_agent)
    if not client.os:
        client.os, client.os_version = _find(_SYSTEMS, user_agent)


def version_of(client: ClientInfo) -> tuple[int, ...] | None:
    """Of its SDK, without what follows a dash; None when that is no version."""
    numbers = client.version.partition("-")[0].split(".")
    if not all(number.isascii() and number.isdecimal() for number in numbers):
        return None
    return tuple(map(int, numbers))


def _find(patterns: tuple[tuple[str, re.Pattern[str]], ...], user_agent: str) -> tuple[str, str]:
    for name, pattern in patterns:
        if match := pattern.search(user_agent[:512]):
            return name, match.group(1).replace("_", ".")
    return "", ""


def _number(text: str) -> int:
    return int(text) if len(text) < 6 and text.isascii() and text.isdecimal() else 0
