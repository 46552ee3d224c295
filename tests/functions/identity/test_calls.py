"""`identity.calls`: every call is there before its answer goes out, and what cannot be written is refused."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx
import pytest
from tests.functions.kms import system as systems
from tests.support import buses

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.catalogue import Catalogue
from sixfold.gateway import app as apps
from sixfold.gateway import credentials
from sixfold.gateway.aws import endpoint
from sixfold.gateway.aws.service import Call
from sixfold.process import Process
from sixfold.testing import ManualClock
from sixfold_events.identity import IdentityCalled
from sixfold_functions.identity import local, refusals
from sixfold_functions.identity.capability import capability as identity_capability
from sixfold_functions.identity.refusal import Refusal
from sixfold_functions.identity.sts import Sts
from sixfold_functions.identity.topics import topics
from sixfold_functions.kms import root

ASSUME = {
    "Action": "AssumeRoleWithWebIdentity",
    "Version": "2011-06-15",
    "RoleArn": "arn:aws:iam::000000000000:role/payments",
    "RoleSessionName": "batch",
}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@contextlib.asynccontextmanager
async def process_on(folder: Path, specs: Sequence[port.TopicSpec] = topics) -> AsyncIterator[Process]:
    """A process with a bus that has these topics."""
    async with buses.open_bus(buses.Place("embedded:", folder)) as bus:
        await bus.create_topics(specs)
        process = Process(name="test", data_dir=folder, registry=Catalogue(systems.CAPABILITIES).registry, bus=bus)
        yield process
        await process.resources.close()


@contextlib.asynccontextmanager
async def http_of(process: Process, *, operator: bool = False) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway with identity's routes."""
    headers = {}
    if operator:
        headers["Authorization"] = f"Bearer {credentials.token(credentials.bootstrap(process.data_dir))}"
    app = apps.create_app(process, [identity_capability], "http://gateway")
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=headers) as http:
        yield http


async def calls(process: Process) -> list[IdentityCalled]:
    """What is in `identity.calls`."""
    records = await systems.everything(process.require_bus(), "identity.calls")
    events = [process.registry.decode(record.value, record.headers) for record in records]
    return [event for event in events if isinstance(event, IdentityCalled)]


async def test_a_call_that_no_operation_takes_is_recorded_without_its_content(tmp_path: Path) -> None:
    """No credential, no such operation, no form: who, what and why, each field cut, nothing else of the request."""
    secret = "hunter2" * 10
    async with process_on(tmp_path) as process:
        async with http_of(process) as http:
            await http.post("/", data={"Action": "GetCallerIdentity", "Version": "2011-06-15", "Password": secret})
            await http.post("/", data={"Action": "x" * 5000})
            await http.post("/", json={"Password": secret}, headers={"X-Amz-Target": "TrentService.ListKeys"})
            await http.post("/", content=b"a=1&a=" + secret.encode(), headers=FORM)
        async with http_of(process, operator=True) as http:
            await http.post("/", data={"Action": "AssumeRole", "Version": "2011-06-15"})
        found = await calls(process)
        raw = b"".join(
            record.value or b"" for record in await systems.everything(process.require_bus(), "identity.calls")
        )
    assert [(each.action, each.principal, each.error_code) for each in found] == [
        ("GetCallerIdentity", "", "MissingAuthenticationToken"),
        ("x" * endpoint.NAME_CHARS_MAX, "", "MissingAuthenticationToken"),
        ("ListKeys", "", "MissingAuthenticationTokenException"),
        ("Unknown", "", "MalformedQueryString"),
        ("AssumeRole", "operator", "InvalidAction"),
    ]
    assert secret.encode() not in raw
    assert len(raw) < 3000


@pytest.mark.parametrize("form", [{"Action": "GetCallerIdentity"}, {**ASSUME, "WebIdentityToken": "a.b.c"}])
async def test_a_refusal_that_cannot_be_written_is_no_answer_of_its_own(tmp_path: Path, form: dict[str, str]) -> None:
    """What cannot be written is refused: 503, not the answer that nobody could find in the trail."""
    async with process_on(tmp_path, ()) as process, http_of(process) as http:
        answer = await http.post("/", data=form)
    assert answer.status_code == 503
    assert "cannot be recorded" in answer.text


async def test_a_session_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """The operator gets no credentials that the trail does not know."""
    async with process_on(tmp_path, ()) as process, http_of(process, operator=True) as http:
        answer = await http.post("/identity/operator-session")
    assert (answer.status_code, "SecretAccessKey" in answer.text) == (503, False)
    assert "cannot be recorded" in answer.text


async def test_an_operators_session_that_a_sealed_root_key_refuses_is_recorded(tmp_path: Path) -> None:
    """Who asked, and why there was none."""
    root.path_of(tmp_path).parent.mkdir()
    root.path_of(tmp_path).write_text("damaged")
    async with process_on(tmp_path) as process, http_of(process, operator=True) as http:
        assert (await http.post("/identity/operator-session")).status_code == 503
        [found] = await calls(process)
    assert (found.action, found.principal, found.error_code) == ("GetSessionToken", "operator", "ServiceUnavailable")
    assert not found.access_key_id


async def test_a_token_whose_numbers_have_no_bounds_is_refused_and_recorded(tmp_path: Path) -> None:
    """A signed `exp` of 401 digits is one more bad token, not a fault of the gateway."""
    local.create(tmp_path, "local")
    endless = local.token(
        tmp_path, "local", subject="alice", audience="sixfold", claims={}, now_s=1, lifetime_s=10**400
    )
    async with process_on(tmp_path) as process, http_of(process) as http:
        answer = await http.post("/", data={**ASSUME, "WebIdentityToken": endless})
        assert answer.status_code == 400
        assert [each.error_code for each in await calls(process)] == ["InvalidIdentityToken"]


async def test_a_call_that_ends_in_a_fault_is_recorded(tmp_path: Path) -> None:
    """Whatever breaks inside, the trail has the call."""

    def broken(_: int) -> bytes:
        raise OSError("no entropy")

    async with process_on(tmp_path) as process:
        asked = {**ASSUME, "WebIdentityToken": "a.b.c"}
        call = Call("call", "sts", "AssumeRoleWithWebIdentity", asked, None, "127.0.0.1", "a test", "")
        with pytest.raises(OSError, match="no entropy"):
            await Sts(process, broken).assume_role(call)
        assert [each.error_code for each in await calls(process)] == ["InternalFailure"]


def anonymous(number: int, principal: str = "") -> IdentityCalled:
    return IdentityCalled(
        call_id=str(number),
        action="Unknown",
        principal=principal,
        resource="",
        called_at_ms=0,
        error_code="MissingAuthenticationToken",
    )


async def test_a_flood_of_anonymous_calls_is_counted_not_copied() -> None:
    """Some have records of their own, one record has the number of the others; callers who are known have one each."""
    clock, written = ManualClock(), list[IdentityCalled]()

    async def publish(call: IdentityCalled) -> None:
        written.append(call)

    log = refusals.Refusals(publish, clock)
    for number in range(1000):
        await log.record(anonymous(number))
    assert len(written) == refusals.WINDOW_RECORDS_MAX
    await log.record(anonymous(1, "operator"))
    assert written.pop().principal == "operator"
    await settle(clock, refusals.WINDOW_S)
    assert written[-1].action == refusals.SUMMED
    assert written[-1].error_message.startswith(f"{1000 - refusals.WINDOW_RECORDS_MAX} more")
    for number in range(refusals.WINDOW_RECORDS_MAX + 1):
        await log.record(anonymous(number))
    await log.close()
    assert written[-1].error_message.startswith("1 more")
    assert len(written) == 2 * (refusals.WINDOW_RECORDS_MAX + 1)


async def test_a_sum_that_cannot_be_written_is_part_of_the_next() -> None:
    """The number is lost with the process only."""
    clock, written, down = ManualClock(), list[IdentityCalled](), [False]

    async def publish(call: IdentityCalled) -> None:
        if down[0]:
            raise Refusal("ServiceUnavailable", "the log is down")
        written.append(call)

    log = refusals.Refusals(publish, clock)
    for number in range(refusals.WINDOW_RECORDS_MAX + 5):
        await log.record(anonymous(number))
    down[0] = True
    await settle(clock, refusals.WINDOW_S)
    down[0] = False
    await log.close()
    assert written[-1].error_message.startswith("5 more")


async def settle(clock: ManualClock, seconds: float) -> None:
    """Let `seconds` pass, and whoever woke finish."""
    real = clocks.SystemClock()
    await real.sleep(0)
    clock.advance(seconds)
    for _ in range(5):
        await real.sleep(0)
