"""Secrets do not get into a log line, whoever writes it."""

import io
import logging
import logging.config
from collections.abc import Iterator

import pytest

from execution_project.logs import MASK, logging_settings, masking

SECRET = 'p@ss/"wörd"\\with+all sorts'
HEX = "0123456789abcdef" * 4


@pytest.fixture(params=["console", "json"])
def log(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """The service's own logging at DEBUG, on a stream of the test; put back afterwards."""
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    settings = logging_settings(level="DEBUG", form=request.param, secrets=[SECRET, "a-plain-secret", "short"])
    settings["handlers"]["stdout"]["stream"] = out
    logging.config.dictConfig(settings)
    yield out
    root.handlers[:], root.level = handlers, level
    logging.config.dictConfig(logging_settings(level="WARNING", form="console"))
    root.handlers[:] = handlers


def test_known_secrets_are_masked_in_every_spelling(log: io.StringIO) -> None:
    logger = logging.getLogger("some.library")
    logger.warning("plain %s", SECRET)
    logger.warning("encoded %s", "p%40ss%2F%22w%C3%B6rd%22%5Cwith%2Ball%20sorts")
    logger.warning("repr %r and a-plain-secret", SECRET)
    try:
        int(SECRET)
    except ValueError:
        logger.exception("failed")

    assert log.getvalue().count(MASK) >= 5
    assert "wörd" not in log.getvalue()
    assert "plain-secret" not in log.getvalue()
    assert "%C3%B6rd" not in log.getvalue()


def test_words_are_not_masked_for_a_short_secret(log: io.StringIO) -> None:
    logging.getLogger("some.library").warning("a short sentence")

    assert "a short sentence" in log.getvalue()


def test_whole_answers_of_the_connector_are_not_written(log: io.StringIO) -> None:
    logging.debug('raw response from server:{"listenKey": "%s"}', HEX)  # noqa: LOG015 -- as the package does
    logging.debug("url: https://fapi.binance.com/fapi/v1/order")  # noqa: LOG015 -- as above
    for name in ("urllib3.connectionpool", "requests", "websocket", "flower", "kombu"):
        logging.getLogger(name).debug("GET /fapi/v1/order?signature=%s", HEX)

    assert log.getvalue() == ""
    logging.warning("something else of the root logger")  # noqa: LOG015 -- as above
    assert "something else" in log.getvalue()


@pytest.mark.parametrize(
    "line",
    [
        f"POST /fapi/v1/order?symbol=BTCUSDT&signature={HEX} HTTP/1.1",
        f"{{'signature': 'x', 'url': 'https://h/p?timestamp=1&signature={HEX}'}}",
        f'{{"listenKey": "{HEX}"}}',
        f"{{'listenKey': '{HEX}'}}",
        f"wss://fstream.binance.com/private/ws/{HEX}",
        f"wss://fstream.binance.com/ws/{HEX}",
        f"X-MBX-APIKEY: {HEX}",
        f"headers={{'X-MBX-APIKEY': '{HEX}'}}",
        f"X-API-Key: {HEX}",
        f"Authorization: Bearer {HEX}",
        f"Authorization: Basic {HEX}",
        f"postgresql://execution:{HEX}@db/execution",
        f"redis://:{HEX}@cache:6379/0",
        f"amqp://user:{HEX}@host",
    ],
)
def test_what_has_a_secret_s_form_is_masked_though_it_is_not_known(line: str) -> None:
    masked = masking([])(line)

    assert HEX not in masked
    assert MASK in masked


@pytest.mark.parametrize(
    "line",
    [
        "redis://127.0.0.1:6379/0",
        "2026-11-30T11:26:40.344+00:00 order es1-epcfyqnz53varnneggogs4juvbe-1: ACCEPTED",
        "GET /api/execution/trades?limit=5 200",
        "http://127.0.0.1:8002/health",
    ],
)
def test_ordinary_lines_stay_as_they_are(line: str) -> None:
    assert masking(["another-secret"])(line) == line


@pytest.mark.parametrize(
    "line",
    [
        "Not Found: /hooks/hook_{token}",
        "request failed method=POST path=/hooks/hook_{token} error_id=7",
        '{{"path": "/hooks/hook_{token}", "method": "POST"}}',
        "POST /hooks/{token}?dry_run=1 HTTP/1.1",
        "the token hook_{token} of a webhook",
    ],
)
def test_the_address_of_a_webhook_is_masked(line: str) -> None:
    token = "V1StGXR8_Z5jdHi6B-myT-V1StGXR8_Z5jdHi6B-myT"

    masked = masking([])(line.format(token=token))

    assert token not in masked
    assert MASK in masked
    # What stands behind the token stays legible.
    assert masked.endswith(line.format(token="").rpartition("hook")[2].lstrip("_s/")[-5:])
