"""The web service of examples/05: its own check, its scripts, and that the agent's process is small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
from tests.functions.deploy.system import EXAMPLE, ROOT, web_service

from sixfold_functions.deploy import appspec


def run(folder: Path, command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


def written(folder: Path) -> Path:
    for name, text in web_service("5" * 40).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if name.endswith(".sh") else 0o644)
    return folder


def test_its_own_check_passes(tmp_path: Path) -> None:
    """The command that the pipeline's build runs."""
    done = run(written(tmp_path), [sys.executable, "check.py"])
    assert done.returncode == 0, done.stderr


def test_its_appspec_is_valid() -> None:
    """As the deploy function reads it."""
    spec = appspec.parse((EXAMPLE / "appspec.yml").read_bytes())
    assert set(spec.hooks) == {"ApplicationStop", "ApplicationStart", "ValidateService"}


def test_its_scripts_may_run_twice_and_after_a_crash(tmp_path: Path) -> None:
    """Stop without a start, start over a running service, stop after the service was killed: all succeed."""
    revision = written(tmp_path / "revision")
    instance = tmp_path / "root"
    home = instance / "srv" / "web-service"
    home.mkdir(parents=True)
    for name in ("server.py", "REVISION"):
        (home / name).write_text((revision / name).read_text())

    def script(name: str) -> None:
        environment = {"INSTANCE_ROOT": str(instance), "INSTANCE_ID": "i-1", "BUNDLE_COMMIT": "5" * 40}
        done = run(revision, [f"scripts/{name}.sh"], **environment)
        assert done.returncode == 0, done.stdout + done.stderr

    state = instance / "run" / "web.json"
    script("stop")
    script("start")
    first = json.loads(state.read_text())
    script("start")
    second = json.loads(state.read_text())
    assert first["pid"] != second["pid"]
    assert not Path(f"/proc/{first['pid']}/cmdline").exists() or not Path(f"/proc/{first['pid']}/cmdline").read_bytes()
    script("validate")
    answer = httpx.get(f"http://127.0.0.1:{second['port']}/", trust_env=False)
    assert answer.json() == {"message": "Hello from Sixfold", "revision": "5" * 40, "instance": "i-1"}
    os.kill(second["pid"], 9)
    script("stop")
    script("stop")
    assert not state.exists()


IMPORTED = """
import sys
import {module}
print("\\n".join(sorted(sys.modules)))
"""


def test_the_agents_process_imports_no_bus_no_database_and_no_other_capability() -> None:
    """An instance holds no bus access: neither the Kafka client nor SQLite is even loaded."""
    for module in ("sixfold_functions.deploy.agent.__main__", "sixfold_functions.deploy.agent.service"):
        done = run(ROOT, [sys.executable, "-c", IMPORTED.format(module=module)])
        assert done.returncode == 0, done.stderr
        loaded = done.stdout.split()
        tops = {name.partition(".")[0] for name in loaded}
        assert not tops & {"aiokafka", "apsw", "sqlite3", "_sqlite3", "dulwich", "typer", "uvicorn", "boto3", "joserfc"}
        rooms = {name.split(".")[1] for name in loaded if name.startswith("sixfold_functions.")}
        assert rooms == {"deploy"}
        ours = {name for name in loaded if name.startswith(("sixfold.bus.", "sixfold_functions.deploy."))}
        assert not ours & {
            f"sixfold_functions.deploy.{name}" for name in ("handler", "hub", "routes", "core", "client")
        }
        assert not {name for name in ours if name.startswith(("sixfold.bus.embedded", "sixfold.bus.kafka"))}
