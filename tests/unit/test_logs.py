from __future__ import annotations

import json
import logging

import pytest

from roomful.auth import AccessToken
from roomful.server import logs

TOKEN = AccessToken("devkey", "secret").with_identity("ada").with_room("demo").to_jwt()


@pytest.mark.parametrize(
    ("line", "clean"),
    [
        (f"GET /rtc?access_token={TOKEN}&protocol=17", "GET /rtc?access_token=[hidden]&protocol=17"),
        ("GET /rtc/v1?join_request=abc-_=&x=1", "GET /rtc/v1?join_request=[hidden]&x=1"),
        ("authorization: Bearer opaque", "authorization: Bearer [hidden]"),
        (f'{{"refreshToken": "{TOKEN}"}}', '{"refreshToken": "[token]"}'),
        (f"cut short: {TOKEN[:40]}", "cut short: [token]"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_tokens_are_taken_out_of_lines(line: str, clean: str) -> None:
    assert logs.redact(line) == clean


def test_uvicorns_arguments_keep_their_places(caplog: pytest.LogCaptureFixture) -> None:
    logs.hide_tokens()
    caplog.set_level(logging.INFO)
    access = logging.getLogger("uvicorn.access")
    access.info('%s - "%s %s HTTP/%s" %d', "a:1", "GET", f"/rtc?access_token={TOKEN}", "1.1", 200)
    record = caplog.records[-1]
    assert record.args == ("a:1", "GET", "/rtc?access_token=[hidden]", "1.1", 200)


def test_as_a_library_fields_reach_the_applications_handlers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="roomful")
    logs.get_logger("roomful.test").info("joined", room="demo", token=TOKEN)
    assert caplog.records[-1].getMessage() == "joined room=demo token=[token]"


def test_a_percent_sign_in_a_field_is_only_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="roomful")
    logs.get_logger("roomful.test").info("joined %s", room="100%d")
    assert caplog.records[-1].getMessage() == "joined %s room=100%d"


@pytest.fixture
def _restored_root() -> object:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("roomful").setLevel(logging.NOTSET)


@pytest.mark.usefixtures("_restored_root")
def test_json_lines_have_fields_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", as_json=True)
    log = logs.get_logger("roomful.test")
    log.debug("hidden")
    log.info("joined", room="demo", level="not the line's own")
    logging.getLogger("other").warning("plain %s", TOKEN)
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["level"], first["msg"], first["room"]) == ("info", "joined", "demo")
    assert second["msg"] == "plain [token]"


@pytest.mark.usefixtures("_restored_root")
def test_plain_lines_are_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("debug", components={"noisy": "error"})
    logs.get_logger("roomful.test").debug("joined", room="demo")
    logs.get_logger("roomful.noisy").warning("not shown")
    assert capsys.readouterr().err.split(" ", 1)[1] == "debug   joined room=demo\n"
