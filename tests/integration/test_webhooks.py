"""POST /hooks/{token}: an alert is a signal once, whatever comes how often; who has no token learns nothing."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from django.apps import apps
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.test import Client
from django.urls import reverse
from pydantic import SecretStr

from execution import wiring
from execution.api import hooks
from execution.api.background import BackgroundStarter
from execution.domain.authorization import Authorization
from execution.domain.call_rate import CallRate
from execution.domain.states import RequestState
from execution.domain.trading import Direction, OrderType, Source
from execution.models import AuditEvent, ExecutionRequest, InboxEvent, Webhook
from execution.queries.preview import PreviewPorts
from execution.risk.ess import EssRules
from execution.signals.accept import AcceptedEvent
from execution.store.webhooks import first_alert
from execution.webhooks.manage import WebhookError, WebhookRules, create_webhook, digest_of, revoke_webhook
from execution_project.networks import networks
from tests.support.desk import Desk, ShiftedClock
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db
WHY = Authorization(by="alice", reason="a strategy")
ALERT = {"symbol": "BINANCE:BTCUSDT.P", "action": "buy", "quantity": "0.01", "stop_loss": "49000"}
BAR = {**ALERT, "bar_time": "2026-03-02T10:00:00Z"}


class Service:
    """The web process with a stepped clock: what it starts is kept, and what it answers is read."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.clock = ShiftedClock()
        self.started: list[UUID | None] = []
        self.broker_answers = True

    def start(self, accepted: AcceptedEvent) -> bool:
        if self.broker_answers:
            self.started.append(accepted.request_id)
        return self.broker_answers

    def webhook(self, name: str = "tv", **rules: Any) -> str:
        """Make a webhook and return its token."""
        given: dict[str, Any] = {"name": name, "calls_per_minute": 6000} | rules
        return create_webhook(WebhookRules(**given), WHY, check_networks=networks, now=self.clock())[1]

    def post(self, token: str, body: object, query: str = "", **options: Any) -> tuple[int, dict[str, Any]]:
        text = body if isinstance(body, str) else json.dumps(body)
        kind = options.pop("content_type", "application/json")
        answer = self.client.post(f"/hooks/{token}{query}", text, content_type=kind, **options)
        hooks.starter.wait()
        return answer.status_code, answer.json()


@pytest.fixture
def service(client: Client, monkeypatch: pytest.MonkeyPatch) -> Service:
    made = Service(client)
    monkeypatch.setattr(hooks, "starter", BackgroundStarter(made.start))
    monkeypatch.setattr(hooks, "calls", CallRate())
    monkeypatch.setattr(hooks, "guesses", CallRate())
    monkeypatch.setattr(wiring, "clock", made.clock)
    return made


def rows() -> dict[str, int]:
    return {model.__name__: model._default_manager.count() for model in apps.get_app_config("execution").get_models()}


def counts(name: str = "tv") -> tuple[int, int, int]:
    webhook = Webhook.objects.get(name=name)
    return webhook.accepted, webhook.repeated, webhook.refused


def test_an_alert_becomes_a_signal_of_its_webhook(service: Service) -> None:
    token = service.webhook(defaults={"leverage": 3, "take_profit": "52000"})

    code, answer = service.post(token, BAR)

    request = ExecutionRequest.objects.get()
    assert code == 202
    assert answer == {
        "repeated": False,
        "identified_by": "bar_time",
        "request_id": str(request.pk),
        "grammar": "own",
        "verb": "long",
        "symbol": "BTCUSDT",
        "see": f"/api/execution/requests/{request.pk}",
    }
    # It should be an ordinary signal, with the defaults where the alert has none.
    assert (request.source, request.state, request.symbol) == (Source.SIGNAL, RequestState.RECEIVED, "BTCUSDT")
    assert (request.direction, request.order_type, request.leverage) == (Direction.LONG, OrderType.MARKET, 3)
    assert (request.stop_price_asked, request.target_price_asked) == (49000, 52000)
    assert request.metadata == {"webhook": "tv", "grammar": "own", "bar_time": "2026-03-02T10:00:00+00:00"}
    inbox = InboxEvent.objects.get()
    assert (inbox.event_type, inbox.producer, inbox.outcome) == ("signal.execute", "webhook:tv", "REQUESTED")
    assert service.started == [request.pk]
    assert counts() == (1, 0, 0)
    assert Webhook.objects.get().last_used_at is not None


@pytest.mark.parametrize(
    ("alert", "by"),
    [
        ({**ALERT, "id": "a-1"}, "alert_id"),
        (BAR, "bar_time"),
        ({**ALERT, "timestamp": "2026-03-02T10:00:01Z"}, "alert_time"),
        (ALERT, "content"),
        ("buy BTCUSDT.P quantity=0.01", "content"),
    ],
)
def test_an_alert_that_comes_again_is_the_same_signal(service: Service, alert: Any, by: str) -> None:
    token = service.webhook()
    service.clock.stop()

    first = service.post(token, alert)
    service.clock.let_pass(299)
    again = [service.post(token, alert) for _ in range(3)]

    assert (first[0], first[1]["identified_by"], first[1]["repeated"]) == (202, by, False)
    assert again == [(202, {**first[1], "repeated": True})] * 3
    assert ExecutionRequest.objects.count() == 1
    assert len(service.started) == 1
    assert InboxEvent.objects.get().duplicates == 3
    assert counts() == (1, 3, 0)


def test_the_time_of_the_alert_does_not_make_the_same_bar_another_alert(service: Service) -> None:
    token = service.webhook()

    _, first = service.post(token, {**BAR, "timestamp": "2026-03-02T10:00:01Z"})
    _, again = service.post(token, {**BAR, "timestamp": "2026-03-02T10:00:09Z"})

    assert (again["repeated"], again["request_id"]) == (True, first["request_id"])


@pytest.mark.parametrize("offset", [0, 1, 150, 299])
def test_the_window_counts_from_the_first_alert_wherever_it_begins(service: Service, offset: int) -> None:
    """Intervals of the identity begin at multiples of the window: an alert right before one is no exception."""
    service.clock.stop()
    service.clock.let_pass(300 - service.clock().timestamp() % 300 + offset)
    token = service.webhook()
    answers = []

    for seconds in (0, 1, 298, 2):
        service.clock.let_pass(seconds)
        answers.append(service.post(token, ALERT)[1]["repeated"])

    # 0, 1 and 299 seconds after the first are repeats of it; 301 seconds after it is another alert.
    assert answers == [False, True, True, False]
    assert ExecutionRequest.objects.count() == 2


def test_other_content_or_another_webhook_is_another_alert(service: Service) -> None:
    first, second = service.webhook(), service.webhook("other")

    answers = [
        service.post(first, BAR),
        service.post(first, {**BAR, "quantity": "0.02"}),
        service.post(first, {**BAR, "bar_time": "2026-03-02T10:05:00Z"}),
        service.post(second, BAR),
    ]

    assert [(code, answer["repeated"]) for code, answer in answers] == [(202, False)] * 4
    assert ExecutionRequest.objects.count() == 4


def test_an_id_with_another_content_is_a_conflict(service: Service) -> None:
    token = service.webhook()
    service.post(token, {**ALERT, "id": "a-1"})

    code, answer = service.post(token, {**ALERT, "id": "a-1", "quantity": "0.02"})

    assert (code, answer["reason_code"]) == (409, "IDENTITY_REUSED")
    assert answer["errors"] == {"id": ["was used for an alert with another content, which stands"]}
    assert ExecutionRequest.objects.count() == 1
    assert counts() == (1, 0, 1)


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ("{", 400, "body"),
        ("x" * 16_385, 413, "body"),
        ({"symbol": "BTCUSDT", "side": "buy"}, 400, "quantity"),
        ({**ALERT, "quantity": "-1"}, 400, "quantity"),
        ({**ALERT, "reduce_only": True}, 400, "reduce_only"),
        ({**ALERT, "symbol": "X"}, 400, "symbol"),
        ({**ALERT, "leverage": 1000}, 400, "leverage"),
        ({**ALERT, "stop_loss": "low"}, 400, "stop_loss"),
        ({**ALERT, "action": "increase"}, 422, "action"),
        ({**ALERT, "max_lag": 1, "timestamp": "2026-03-02T10:00:01Z"}, 422, "max_lag"),
    ],
)
def test_what_is_refused_names_the_field_and_leaves_nothing(service: Service, body: Any, code: int, field: str) -> None:
    token = service.webhook()
    before = rows()

    answered, answer = service.post(token, body)

    assert (answered, answer["detail"]) == (code, "The request is not valid.")
    assert (list(answer["errors"]), list(answer)) == ([field], ["detail", "reason_code", "errors"])
    assert rows() == before
    assert service.started == []
    webhook = Webhook.objects.get()
    assert counts() == (0, 0, 1)
    assert webhook.last_refusal.startswith(f"{answer['reason_code']}: {field}: ")


@pytest.mark.parametrize("action", ["close", "exit", "flat", "reduce", "reverse", "increase", "cancel"])
@pytest.mark.parametrize("side", ["", "long", "short"])
def test_what_does_not_open_never_becomes_an_entry(service: Service, action: str, side: str) -> None:
    token = service.webhook(verbs=["long", "short", "close", "reduce", "reverse", "increase", "cancel"])

    code, answer = service.post(token, {"symbol": "BTCUSDT", "action": action, "side": side, "quantity": "0.01"})

    assert not ExecutionRequest.objects.exists()
    if action in {"reverse", "increase", "cancel"}:
        # The bus has no such command: refused by its field, with nothing stored.
        assert (code, "action" in answer["errors"]) == (400, True)
        assert not InboxEvent.objects.exists()


def test_who_has_no_valid_token_gets_one_and_the_same_answer(service: Service) -> None:
    revoked, disabled, elsewhere = service.webhook("revoked"), service.webhook("disabled"), service.webhook("elsewhere")
    revoke_webhook("revoked", WHY, now=service.clock())
    Webhook.objects.filter(name="disabled").update(enabled=False)
    Webhook.objects.filter(name="elsewhere").update(networks="10.0.0.0/8")
    before = rows()

    answers = [
        service.client.post(f"/hooks/{token}{query}", body, content_type="application/json")
        for token in (revoked, disabled, elsewhere, "hook_unknown", "x", "%00", "é" * 500)
        for body in (json.dumps(ALERT), "{")
        for query in ("", "?dry_run=1")
    ]

    assert {(answer.status_code, answer.content) for answer in answers} == {(404, b'{"detail": "Not found"}')}
    assert len({str(sorted(answer.headers.items())) for answer in answers}) == 1
    assert rows() == before
    assert not ExecutionRequest.objects.exists()


def test_a_token_is_looked_up_by_one_statement_whatever_it_is(
    service: Service, django_assert_num_queries: Callable[[int], Any]
) -> None:
    revoked = service.webhook("revoked")
    revoke_webhook("revoked", WHY, now=service.clock())

    for token in (revoked, "hook_unknown"):
        with django_assert_num_queries(1):
            assert service.post(token, ALERT)[0] == 404


def test_networks_count_behind_a_proxy_as_the_settings_name_it(service: Service, settings: LazySettings) -> None:
    token = service.webhook(networks="52.89.214.238, 2600:1f00::/24")
    settings.ENV = settings.ENV.model_copy(update={"trusted_proxies": "127.0.0.1"})
    service.client.handler.load_middleware()

    def code(caller: str, **more: str) -> int:
        return service.post(token, {**ALERT, "id": caller}, headers={"X-Forwarded-For": caller, **more})[0]

    assert code("52.89.214.238") == 202
    assert code("2600:1f00::1") == 202
    # What a caller has put in front of its own address does not count.
    assert code("52.89.214.238, 6.6.6.6") == 404
    assert code("6.6.6.6") == 404


def test_a_forged_header_is_no_network(service: Service) -> None:
    token = service.webhook(networks="52.89.214.238")

    assert service.post(token, ALERT, headers={"X-Forwarded-For": "52.89.214.238"})[0] == 404


SECRET = "correct-horse-battery"


@pytest.mark.parametrize("name", ["secret", "passphrase", "email_token"])
def test_a_secret_is_checked_and_kept_nowhere(service: Service, caplog: pytest.LogCaptureFixture, name: str) -> None:
    token = service.webhook(secret=SECRET)

    missing = service.post(token, ALERT)
    wrong = service.post(token, {**ALERT, name: "wrong-secret-words"})
    right = service.post(token, {**ALERT, name: SECRET})

    assert (missing[0], missing[1]["errors"]) == (403, {"secret": ["is missing"]})
    assert (wrong[0], wrong[1]["errors"], wrong[1]["reason_code"]) == (403, {"secret": ["is wrong"]}, "SECRET_WRONG")
    assert right[0] == 202
    assert counts() == (1, 0, 2)
    # Neither secret, neither token should stand in a row, an answer or the log.
    kept = caplog.text + str([missing, wrong, right])
    for model in apps.get_app_config("execution").get_models():
        kept += str(list(model._default_manager.values()))
    for canary in (SECRET, "wrong-secret-words", token, token.removeprefix("hook_")):
        assert canary not in kept


def test_a_webhook_without_a_secret_leaves_one_aside(service: Service) -> None:
    token = service.webhook()

    assert service.post(token, {**ALERT, "secret": SECRET})[0] == 202
    assert "secret" not in InboxEvent.objects.get().payload


def test_more_calls_than_a_minute_may_have_wait(service: Service) -> None:
    token, other = service.webhook(calls_per_minute=3), service.webhook("other")

    codes = [service.post(token, {**ALERT, "id": str(number)})[0] for number in range(3)]
    answer = service.client.post(f"/hooks/{token}", json.dumps(ALERT), content_type="application/json")

    assert codes == [202, 202, 202]
    assert (answer.status_code, answer.json()["reason_code"]) == (429, "TOO_MANY_CALLS")
    assert answer.json()["detail"] == "Too many calls: calls expected<=3 a minute."
    assert 1 <= int(answer.headers["Retry-After"]) <= 61
    # A flood should cost no statement but the look-up, and no other webhook its calls.
    assert counts() == (3, 0, 0)
    assert service.post(other, ALERT)[0] == 202


def test_guesses_are_slowed_down_and_the_right_token_is_not(service: Service) -> None:
    token = service.webhook()

    codes = [service.post(f"hook_{number}", ALERT)[0] for number in range(hooks.MOST_GUESSES + 2)]

    assert codes == [404] * hooks.MOST_GUESSES + [429] * 2
    assert service.post(token, ALERT)[0] == 202


def test_the_service_key_is_neither_needed_nor_enough(service: Service, settings: LazySettings) -> None:
    settings.ENV = settings.ENV.model_copy(update={"execution_api_key": SecretStr("a-key-that-is-long-enough")})
    token = service.webhook()

    assert service.post(token, ALERT)[0] == 202
    assert service.post("hook_x", ALERT, headers={"X-API-Key": "a-key-that-is-long-enough"})[0] == 404
    assert service.client.get("/api/execution/positions", headers={"X-API-Key": token}).status_code == 401


def test_other_methods_and_parameters_are_refused_whatever_the_token(service: Service) -> None:
    for token in (service.webhook(), "hook_x"):
        assert service.client.get(f"/hooks/{token}").status_code == 405
        assert service.post(token, ALERT, "?dryrun=1")[1]["errors"] == {
            "dryrun": ["is not known; did you mean dry_run?"]
        }
        assert service.post(token, ALERT, "?dry_run=yes")[1]["errors"] == {"dry_run": ["must be 0 or 1"]}


def test_a_broker_that_is_away_loses_nothing(desk: Desk, service: Service) -> None:
    token = service.webhook()
    service.broker_answers = False

    code, answer = service.post(token, ALERT)

    request_id = UUID(answer["request_id"])
    assert (code, desk.request(request_id).state) == (202, RequestState.RECEIVED)
    # The monitor should resume it, and the alert that comes again should start nothing.
    service.broker_answers = True
    assert service.post(token, ALERT)[1]["repeated"] is True
    assert service.started == []
    desk.clock.let_pass(3)
    desk.cycle()
    assert desk.request(request_id).state == RequestState.RECORDED
    assert len(desk.ledger.entries_sent) == 1


def test_a_broker_that_hangs_does_not_hold_the_answer(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    token = service.webhook()
    reached: list[bool] = []

    class Hanging:
        def start(self, accepted: AcceptedEvent) -> bool:
            # Committed before anything is started.
            reached.append(ExecutionRequest.objects.filter(pk=str(accepted.request_id)).exists())
            return True

        def wait(self) -> None:
            """Wait for nothing."""

    monkeypatch.setattr(hooks, "starter", Hanging())

    assert service.post(token, ALERT)[0] == 202
    assert reached == [True]


def test_a_database_that_does_not_answer_is_a_503_and_the_resend_is_taken(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = service.webhook()
    service.client.raise_request_exception = False

    def lost(*_: object, **__: object) -> None:
        raise OperationalError("the server closed the connection")

    with monkeypatch.context() as patch:
        patch.setattr("execution.webhooks.intake.count_accepted", lost)
        code, _ = service.post(token, ALERT)

    # Nothing half-stored: the sender comes again, and it is the first.
    assert (code, ExecutionRequest.objects.count(), InboxEvent.objects.count()) == (503, 0, 0)
    assert service.post(token, ALERT)[1]["repeated"] is False


def test_a_dry_run_shows_the_verdict_and_changes_nothing(
    desk: Desk, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = PreviewPorts(
        risk_safety=desk.risk_safety,
        ess_rules=EssRules(fail_mode="open"),
        exchange=desk.exchange,
        stack=desk.stack,
        memory=desk.memory,
        lists=desk.lists,
        clock=desk.clock,
    )
    monkeypatch.setattr(hooks, "preview_ports", lambda: ports)
    token = service.webhook(quantity="0.02", verbs=["long", "close"])
    before = rows(), Webhook.objects.values().get()
    desk.paper.clear_ledger()

    code, answer = service.post(token, ALERT, "?dry_run=1")
    short, refused = service.post(token, {**ALERT, "action": "sell"}, "?dry_run=1")
    closing, close = service.post(token, {**ALERT, "action": "close"}, "?dry_run=1")

    assert (code, answer["outcome"], answer["size"]["quantity"]) == (200, "approved", "0.02")
    assert (short, refused["reason_code"]) == (422, "VERB_NOT_ALLOWED")
    assert (closing, close["errors"]) == (400, {"action": ["dry_run previews entries, not close"]})
    assert (rows(), Webhook.objects.values().get()) == before
    assert {row["method"] for row in desk.paper.ledger()["requests"]} == {"GET"}
    # The real alert should then do what was shown.
    request_id = UUID(service.post(token, ALERT)[1]["request_id"])
    desk.run(request_id)
    assert desk.request(request_id).quantity == Decimal("0.02")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("alert", [ALERT, {**ALERT, "id": "a-1"}], ids=["content", "alert_id"])
def test_the_same_alert_from_eight_connections_is_one_signal(service: Service, alert: dict[str, str]) -> None:
    token = service.webhook()

    def send() -> bool:
        answer = Client().post(f"/hooks/{token}", json.dumps(alert), content_type="application/json")
        assert answer.status_code == 202
        repeated: bool = answer.json()["repeated"]
        return repeated

    answers = at_once([send] * 8)
    hooks.starter.wait()

    assert sorted(answers) == [False] + [True] * 7
    assert ExecutionRequest.objects.count() == 1
    assert len(service.started) == 1
    assert counts() == (1, 7, 0)


# Operators


def command(*words: str) -> str:
    out = StringIO()
    call_command("webhook", *words, stdout=out)
    return out.getvalue()


def test_commands_make_list_and_revoke(service: Service) -> None:
    why = ("--reason", "breakout", "--by", "alice")
    made = command("create", "tv-btc", "--quantity", "0.01", "--networks", "127.0.0.1", "--max-lag", "120", *why)
    token = made.strip().rpartition("/hooks/")[2]

    assert service.post(token, {**ALERT, "timestamp": service.clock().isoformat()})[0] == 202
    (line,) = command("list").splitlines()
    assert line.startswith("tv-btc: in force, verbs=long,short accepted=1 repeated=0 refused=0 last_used=20")
    assert command("revoke", "tv-btc", *why) == "Webhook tv-btc is revoked.\n"
    assert service.post(token, ALERT)[0] == 404
    # The name is free again, for another token.
    assert token not in command("create", "tv-btc", *why)
    # Who and why should stand in the journal, and the token nowhere.
    lines = AuditEvent.objects.filter(entity="webhook", entity_id="tv-btc").order_by("id")
    assert [(row.to_state, row.reason, row.details) for row in lines] == [
        ("CREATED", "breakout", {"by": "alice"}),
        ("REVOKED", "breakout", {"by": "alice"}),
        ("CREATED", "breakout", {"by": "alice"}),
    ]
    assert Webhook.objects.filter(token_sha256=digest_of(token)).count() == 1


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ({"name": "Big"}, "name: must have 1 to 32 of a-z 0-9 -, and begin with a letter or digit"),
        ({"verbs": ["buy"]}, "verbs: must be some of long, short, increase, reduce, close, reverse, cancel"),
        ({"networks": "10.0.0.0/99"}, "networks: '10.0.0.0/99' does not appear to be an IPv4 or IPv6 network"),
        ({"secret": "short"}, "secret: must have at least 8 characters"),
        ({"calls_per_minute": 0}, "calls_per_minute: must be from 1 to 6000"),
        ({"max_lag_seconds": 700_000}, "max_lag_seconds: must be from 1 to 604800"),
        ({"defaults": {"leverage": 1000}}, "defaults: leverage: must be a whole number from 1 to 125"),
        ({"defaults": {"levrage": 3}}, "defaults: levrage is not known"),
        ({"defaults": {"side": "buy"}}, "defaults: side comes from the alert"),
    ],
)
def test_a_webhook_that_no_alert_could_use_is_not_made(service: Service, rules: dict[str, Any], sentence: str) -> None:
    with pytest.raises(WebhookError) as refused:
        service.webhook(**rules)

    assert str(refused.value) == sentence
    assert not Webhook.objects.exists()


def test_a_name_is_in_force_once(service: Service) -> None:
    service.webhook()

    with pytest.raises(WebhookError, match="name: a webhook tv is in force; revoke it first"):
        service.webhook()
    with pytest.raises(CommandError, match="Nothing was done: name: no webhook other is in force"):
        command("revoke", "other", "--reason", "x")


def test_the_admin_makes_one_shows_its_address_once_and_revokes_it(service: Service, admin_client: Client) -> None:
    form = {
        "name": "tv",
        "verbs": ["long"],
        "defaults": "{}",
        "symbol_map": "{}",
        "repeat_window_seconds": "300",
        "calls_per_minute": "60",
        "secret": SECRET,
        "reason": "a strategy",
    }
    assert admin_client.get(reverse("admin:execution_webhook_create")).status_code == 200

    page = admin_client.post(reverse("admin:execution_webhook_create"), form)

    text = page.content.decode()
    token = text.partition("/hooks/")[2].partition("<")[0]
    assert page.status_code == 200
    assert "no-store" in page.headers["Cache-Control"]
    assert service.post(token, {**ALERT, "secret": SECRET})[0] == 202
    # Neither table nor row should show token, digests or secret.
    webhook = Webhook.objects.get()
    pages = [
        reverse("admin:execution_webhook_changelist"),
        reverse("admin:execution_webhook_change", args=[webhook.pk]),
    ]
    shown = "".join(admin_client.get(address).content.decode() for address in pages)
    for canary in (token, webhook.token_sha256, webhook.secret_sha256, SECRET):
        assert canary not in shown
    # A second one of the name should be refused in the form.
    again = admin_client.post(reverse("admin:execution_webhook_create"), form).content.decode()
    assert "a webhook tv is in force; revoke it first" in again
    address = reverse("admin:execution_webhook_revoke", args=[webhook.pk])
    assert admin_client.get(address).status_code == 200
    assert admin_client.post(address, {"reason": "ended"}).status_code == 302
    assert service.post(token, {**ALERT, "secret": SECRET})[0] == 404


def test_only_who_may_manage_webhooks_makes_and_revokes_them(
    service: Service, client: Client, django_user_model: Any
) -> None:
    service.webhook()
    client.force_login(django_user_model.objects.create_user("reader", password="x", is_staff=True))

    for name, arguments in (("create", []), ("revoke", [Webhook.objects.get().pk])):
        address = reverse(f"admin:execution_webhook_{name}", args=arguments)
        assert client.get(address).status_code == 403
        assert client.post(address, {"reason": "x"}).status_code == 403
    assert Webhook.objects.get().revoked_at is None


@pytest.fixture(autouse=True)
def _nothing_runs_on() -> Iterator[None]:
    yield
    hooks.starter.wait()


def test_the_first_alert_is_found_by_its_own_window_only(service: Service) -> None:
    token = service.webhook()
    service.post(token, ALERT)
    inbox = InboxEvent.objects.get()
    wanted = (inbox.event_type, inbox.identity, inbox.producer)

    assert first_alert(*wanted, since=inbox.received_at) == inbox
    assert first_alert(*wanted, since=inbox.received_at + timedelta(microseconds=1)) is None
