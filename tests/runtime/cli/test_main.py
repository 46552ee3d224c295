"""The command line as a whole: help, version, exit codes, and errors that say what to do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from tests.runtime.cli.commands import Sixfold, until
from typer.testing import CliRunner

from sixfold.cli import main, references

OURS = sorted(name for name, verb in main.VERBS.items() if verb.reference.startswith("sixfold.cli."))


def test_the_help_lists_every_verb_and_every_capability_without_importing_them() -> None:
    """`--help` knows summaries only, so it stays quick however much is installed."""
    program = (
        "import sys\n"
        "from sixfold.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "found = [name for name in sys.modules if name.startswith('sixfold.cli.') or name.endswith('.commands')]\n"
        "assert set(found) <= {'sixfold.cli.' + each for each in ('main', 'lazy', 'common', 'references', 'stdio')}, found\n"
        "for heavy in ('aiokafka', 'uvicorn', 'starlette', 'dulwich', 'apsw'): assert heavy not in sys.modules, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for verb in (*OURS, "volume", "git", "pipeline", "deploy", "kms"):
        assert f" {verb} " in done.stdout, verb


def test_the_version_is_that_of_the_package(sixfold: Sixfold) -> None:
    """`--version` prints one line and needs no verb."""
    assert sixfold.good("--version").startswith("sixfold 0.")


def test_a_wrong_verb_or_option_is_wrong_usage(sixfold: Sixfold) -> None:
    """Exit code 2, and the near one is named."""
    assert "status" in sixfold.bad("statsu", code=2)
    assert "No such option" in sixfold.bad("status", "--nope", code=2)


def test_a_bus_that_is_none_is_wrong_usage(sixfold: Sixfold) -> None:
    """The message says what a bus looks like."""
    assert "kafka://HOST:PORT" in sixfold.bad("--bus", "http://x", "topics", code=2)


def test_a_fault_of_ours_leaves_its_traceback_in_a_file(sixfold: Sixfold, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user sees one line and where the rest lies; exit code 1."""

    def broken(**_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(main, "app", broken)
    with pytest.raises(SystemExit) as end:
        main.main(["--data-dir", str(sixfold.data_dir), "topics"])
    assert end.value.code == 1
    text = (sixfold.data_dir / "logs" / "command-line.log").read_text()
    assert "ZeroDivisionError: oops" in text
    assert "Traceback" in text


def test_an_interrupt_is_exit_code_130(sixfold: Sixfold) -> None:
    """As of any program that Ctrl-C ends."""
    sixfold.good("publish", "git.pushed", "--data", sixfold.good("event", "new", "git.pushed"))
    with sixfold.start("tail", "git.pushed", "--follow") as tail:
        until(tail, "git.pushed")
        tail.send_signal(signal.SIGINT)
        rest, _ = tail.communicate(timeout=20)
    assert tail.returncode == 130
    assert "Traceback" not in rest


def test_a_reader_that_goes_away_ends_it_quietly(sixfold: Sixfold) -> None:
    """`sixfold tail … | head -1` is not an error message."""
    sixfold.good("publish", "git.pushed", "--count", "5000", "--data", sixfold.good("event", "new", "git.pushed"))
    for form in ([], ["--json"]):
        command = [*sixfold.command, "tail", "git.pushed", *form]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=sixfold.environment) as tail:
            assert tail.stdout is not None
            assert tail.stderr is not None
            tail.stdout.read(10)
            tail.stdout.close()
            assert tail.stderr.read() == b""
            assert tail.wait(timeout=30) == 141


def test_a_setting_comes_from_the_option_then_the_environment(tmp_path: Path) -> None:
    """--data-dir wins over SIXFOLD_DATA_DIR, which wins over ./.sixfold."""
    command = [sys.executable, "-m", "sixfold"]
    environment = {**os.environ, "SIXFOLD_DATA_DIR": str(tmp_path / "from-environment")}
    subprocess.run([*command, "topics"], env=environment, check=True, capture_output=True)
    assert (tmp_path / "from-environment" / "bus").is_dir()
    told = [*command, "--data-dir", str(tmp_path / "told"), "topics"]
    subprocess.run(told, env=environment, check=True, capture_output=True)
    assert (tmp_path / "told" / "bus").is_dir()


def test_a_capability_that_runs_alone_has_the_default_settings() -> None:
    """A commands.py can be tested by typer's runner without the root."""
    from sixfold.cli import common

    lone = typer.Typer()

    @lone.command()
    def where(ctx: typer.Context) -> None:
        common.line({"bus": common.settings(ctx).bus_url})

    result = CliRunner().invoke(lone, [])
    assert result.output == '{"bus":"embedded:"}\n'


def test_a_users_code_is_found_by_file_module_and_attribute(sixfold: Sixfold, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is wrong with it is said with its line."""
    monkeypatch.chdir(sixfold.app.parent)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for reference in (str(sixfold.app), f"{sixfold.app}:accept", "orders:accept", "orders.py"):
        assert [function.name for function in references.functions_in(reference)] == ["accept"]
    for reference, said in [
        ("nope.py", "no file"),
        ("nope:x", "cannot be imported"),
        ("orders:nope", "OrderPlaced"),
        ("orders:OrderPlaced", "expected a Function"),
        ("json", "no function"),
    ]:
        with pytest.raises(references.AppReferenceError, match=said):
            references.functions_in(reference)
    broken = sixfold.app.parent / "broken.py"
    broken.write_text("\n\n1 / 0\n")
    with pytest.raises(references.AppReferenceError, match=r"broken\.py:3"):
        references.functions_in(str(broken))
