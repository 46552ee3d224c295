"""The Invoke API with the client that people have: boto3, unchanged but for its endpoint_url."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import httpx
import pytest
from tests.runtime.lambdas import invoked_app as app
from tests.runtime.lambdas.conftest import Served
from tests.support.waiting import eventually

from sixfold import dead_letter, running
from sixfold.bus import Record
from sixfold.lambdas import invocations
from sixfold.lambdas.asynchronous import invoker


async def test_boto3_invokes_a_handler_in_lambdas_shape(served: Served) -> None:
    """Any JSON goes in, what it returns comes back, by name, partial and whole ARN; the context tells the request's id."""
    arn = "arn:aws:lambda:local:000000000000:function:echo"
    payloads: list[Any] = [{"a": [1, None]}, [], "text", 7, None]
    for name in ("echo", "function:echo", arn, f"{arn}:$LATEST"):
        for payload in payloads:
            result, answer = await served.invoke(name, payload)
            assert result["got"] == payload
            assert answer["StatusCode"] == 200
            assert answer["ExecutedVersion"] == "$LATEST"
            assert "FunctionError" not in answer
            assert result["id"] == answer["ResponseMetadata"]["RequestId"]
    client_context = base64.b64encode(b'{"custom": {"k": "v"}}').decode()
    result, _ = await served.invoke("echo", {}, ClientContext=client_context)
    assert result["custom"] == {"k": "v"}
    assert json.loads((await served.call("invoke", FunctionName="echo"))["Payload"])["got"] == {}


async def test_boto3_invokes_a_typed_function_with_its_event(served: Served) -> None:
    """The payload is the event's fields; what it emits is published, what it returns comes back."""
    result, _ = await served.invoke("greet", {"name": "ada"})
    assert result == {"greeting": "hello ada"}
    [record] = await served.records("greeted")
    assert record.value is not None
    assert served.process.registry.decode(record.value, record.headers) == app.Greeted(name="ada", greeting="hello ada")
    assert "name" in await served.refused("InvalidRequestContentException", FunctionName="greet", Payload=b"{}")
    assert "publish its event" in await served.refused(
        "InvalidParameterValueException", FunctionName="counting", Payload=b'{"name": "a"}'
    )


async def test_errors_come_in_lambdas_shape(served: Served) -> None:
    """Type, message, stack and request id; what a function says is final is Handled, all else Unhandled."""
    body, answer = await served.invoke("echo", "fail")
    assert answer["StatusCode"] == 200
    assert answer["FunctionError"] == "Unhandled"
    assert (body["errorType"], body["errorMessage"]) == ("ValueError", "a bad event")
    assert body["requestId"] == answer["ResponseMetadata"]["RequestId"]
    assert any("invoked_app.py" in line for line in body["stackTrace"])
    for payload, kind, error in (
        ("odd", "Runtime.MarshalError", "Unhandled"),
        ("sleep", "Sandbox.Timedout", "Unhandled"),
    ):
        body, answer = await served.invoke("echo", payload)
        assert (body["errorType"], answer["FunctionError"]) == (kind, error)
    body, answer = await served.invoke("greet", {"name": "nobody"})
    assert (body["errorType"], body["errorMessage"], answer["FunctionError"]) == (
        "PermanentError",
        "nobody is there",
        "Handled",
    )
    assert (await served.invoke("greet", {"name": "later"}))[1]["FunctionError"] == "Unhandled"


async def test_the_log_tail_holds_what_this_call_printed_and_logged(served: Served) -> None:
    """The last 4 KB of it, and nothing of calls that run side by side."""
    answers = await asyncio.gather(
        served.invoke("echo", 1, LogType="Tail"), served.invoke("greet", {"name": "bob"}, LogType="Tail")
    )
    logs = [base64.b64decode(answer["LogResult"]).decode() for _, answer in answers]
    for log, (_, answer) in zip(logs, answers, strict=True):
        request_id = answer["ResponseMetadata"]["RequestId"]
        assert log.startswith(f"START RequestId: {request_id} Version: $LATEST\n")
        assert f"REPORT RequestId: {request_id}\tDuration: " in log
    assert "printed by the handler" in logs[0]
    assert "logged by the handler" in logs[0]
    assert "greeting bob" not in logs[0]
    assert "greeting bob" in logs[1]
    assert "handler" not in logs[1]
    _, answer = await served.invoke("echo", "chatty", LogType="Tail")
    tail = base64.b64decode(answer["LogResult"])
    assert len(tail) == 4096
    assert b"xend\n" in tail
    assert (
        "[ERROR] ValueError: a bad event"
        in base64.b64decode((await served.invoke("echo", "fail", LogType="Tail"))[1]["LogResult"]).decode()
    )
    assert "LogResult" not in (await served.invoke("echo", 1))[1]


async def test_a_dry_run_calls_nothing(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """204 where the call would be taken; the refusals of a real call otherwise."""
    _, answer = await served.invoke("greet", {"name": "ada"}, InvocationType="DryRun")
    assert answer["StatusCode"] == 204
    assert "greeting ada" not in capsys.readouterr().out
    assert await served.records("greeted") == []
    await served.refused("InvalidRequestContentException", FunctionName="greet", InvocationType="DryRun", Payload=b"{}")


async def test_an_event_is_accepted_once_it_is_in_the_log_and_called_from_there(served: Served) -> None:
    """202 with nobody there to call it; the process of all functions calls it when it comes, and sets a failure aside."""
    for payload in ({"name": "ada"}, {"name": "nobody"}):
        body, answer = await served.invoke("greet", payload, InvocationType="Event")
        assert (answer["StatusCode"], body) == (202, None)
    assert len(await served.records("lambda.invocations")) == 2
    assert await served.records("greeted") == []
    stopping = asyncio.Event()
    work = asyncio.create_task(
        running.run_functions(served.process, [invoker([app.greet, app.echo])], stopping=stopping)
    )

    async def parked() -> list[Record]:
        made = "lambda.invoke.dlq" in await served.bus.topics()
        return await served.records("lambda.invoke.dlq") if made else []

    async def done() -> bool:
        return not any((await served.bus.lag("lambda.invoke", ["lambda.invocations"])).values())

    [letter] = await eventually(parked, "the invocation that failed for good is set aside")
    assert "nobody is there" in dead_letter.read(letter).error_message
    await eventually(done, "all invocations are done")
    stopping.set()
    await work
    assert len(await served.records("greeted")) == 1


async def test_what_is_asked_wrongly_is_refused_as_lambda_refuses_it(served: Served) -> None:
    """Unknown names and versions, payloads that are no JSON or too large, wrong types, missing credentials."""
    assert "Function not found" in await served.refused("ResourceNotFoundException", FunctionName="nothing")
    await served.refused("ResourceNotFoundException", FunctionName="echo", Qualifier="prod")
    await served.refused("InvalidRequestContentException", FunctionName="echo", Payload=b"{")
    await served.refused("InvalidRequestContentException", FunctionName="echo", Payload=b'"\xff"')
    await served.refused("InvalidRequestContentException", FunctionName="echo", Payload=b"[" * 200_000)
    await served.refused("InvalidRequestContentException", FunctionName="echo", ClientContext="no base64")
    large = b'"' + b"x" * (6 * 1024 * 1024) + b'"'
    await served.refused("RequestTooLargeException", FunctionName="echo", Payload=large)
    most = b'"' + b"x" * (1024 * 1024 - 2) + b'"'
    accepted = await served.call("invoke", FunctionName="echo", Payload=most, InvocationType="Event")
    assert accepted["StatusCode"] == 202
    await served.refused("RequestTooLargeException", FunctionName="echo", Payload=most + b" ", InvocationType="Event")
    url = f"{served.url}/2015-03-31/functions/echo/invocations"
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.post(url)).status_code == 401
        bearer = {"Authorization": f"Bearer {served.token}"}
        assert (await http.post(url, content=b"1", headers=bearer)).json()["got"] == 1
        wrong = await http.post(url, headers={**bearer, "X-Amz-Invocation-Type": "Later"})
        assert wrong.headers["x-amzn-errortype"] == "InvalidParameterValueException"


async def test_more_calls_at_once_than_the_gateway_runs_are_told_to_come_again(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Lambda does where its concurrency is used up; a call that has ended makes room."""
    monkeypatch.setattr(invocations, "RUNNING_MAX", 1)
    app.holding.update(began=asyncio.Event(), release=asyncio.Event())
    slow = asyncio.create_task(served.invoke("held"))
    await app.holding["began"].wait()
    await served.refused("TooManyRequestsException", FunctionName="echo", Payload=b"1")
    app.holding["release"].set()
    await slow
    assert (await served.invoke("echo", 1))[0]["got"] == 1
