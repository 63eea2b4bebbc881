"""The scripts, run with a stand-in for Python on the path, so that nothing is installed or started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = (
    "deploy_kandinsky.sh",
    "scripts/environment.sh",
    "scripts/test",
    "scripts/check",
    "scripts/fix",
    ".ci/run",
)

# Notes every call; `-m venv` copies itself into the new environment; $FAULT says what goes wrong.
PYTHON = """\
#!/bin/bash
echo "$*" >>"$CALLS"
case "$*" in
    *"import venv"*) [ "$FAULT" != "no venv" ] ;;
    *version_info*) [ "$FAULT" != "old" ] ;;
    "-m venv"*) mkdir -p "${@: -1}/bin" && cp "$0" "${@: -1}/bin/python" ;;
    "-m pip"*)
        case "$FAULT" in
            "disk full") echo "ERROR: [Errno 28] No space left on device"; exit 1 ;;
            "no package") echo "ERROR: No matching distribution found for ray"; exit 1 ;;
        esac
        ;;
esac
"""

Deploy = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the deploy script needs, and the stand-in on a path of its own."""
    root = tmp_path / "checkout"
    (root / "scripts").mkdir(parents=True)
    for name in ("deploy_kandinsky.sh", "pyproject.toml", "constraints.txt", "scripts/environment.sh"):
        shutil.copy(ROOT / name, root / name)
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python3.13"
    python.write_text(PYTHON)
    python.chmod(0o755)
    return root


@pytest.fixture
def deploy(checkout: Path, tmp_path: Path) -> Deploy:
    """Runs the deploy script with the stand-in."""

    def run(
        *arguments: str, fault: str = "", path: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": path or f"{tmp_path / 'bin'}:/usr/bin:/bin",
            "HOME": str(tmp_path),
            "CALLS": str(tmp_path / "calls"),
            "FAULT": fault,
            **variables,
        }
        command = [shutil.which("bash") or "bash", str(checkout / "deploy_kandinsky.sh"), *arguments]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )

    return run


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().splitlines()


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_valid_bash(script: str) -> None:
    subprocess.run(["bash", "-n", str(ROOT / script)], check=True)
    assert script.endswith("environment.sh") or os.access(ROOT / script, os.X_OK)


def test_help_needs_no_python(deploy: Deploy, tmp_path: Path) -> None:
    done = deploy("--help", fault="old")
    assert done.returncode == 0
    assert "--model-name NAME" in done.stdout
    assert not (tmp_path / "calls").exists()


def test_the_first_run_installs_and_deploys(deploy: Deploy, tmp_path: Path) -> None:
    done = deploy("/models/k3", "--model-name", "k 3")
    assert done.returncode == 0, done.stderr
    assert any(call.startswith("-m pip install") for call in calls(tmp_path))
    assert calls(tmp_path)[-1] == "-P -m gateway deploy /models/k3 --model-name k 3"


def test_the_first_run_on_another_machine_installs_and_joins(deploy: Deploy, tmp_path: Path) -> None:
    done = deploy("--join", "10.0.0.1:6379", "--resource", "slot")
    assert done.returncode == 0, done.stderr
    assert any(call.startswith("-m pip install") for call in calls(tmp_path))
    assert calls(tmp_path)[-1] == "-P -m gateway join 10.0.0.1:6379 --resource slot"


def test_the_second_run_installs_nothing(deploy: Deploy, tmp_path: Path) -> None:
    deploy()
    (tmp_path / "calls").unlink()
    deploy()
    assert calls(tmp_path) == ["-P -m gateway deploy"]


def test_changed_requirements_are_installed(deploy: Deploy, checkout: Path, tmp_path: Path) -> None:
    deploy()
    with (checkout / "constraints.txt").open("a") as constraints:
        constraints.write("another==1.0\n")
    (tmp_path / "calls").unlink()
    deploy()
    assert any(call.startswith("-m pip install") for call in calls(tmp_path))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no venv", "has no venv module"),
        ("disk full", "the disk is full"),
        ("no package", "No matching distribution found for ray"),
    ],
)
def test_a_failing_installation_says_what_is_wrong(deploy: Deploy, fault: str, message: str) -> None:
    done = deploy(fault=fault)
    assert done.returncode == 1
    assert message in done.stderr
    assert "gateway deploy" not in done.stdout


def test_a_failed_installation_is_tried_again(deploy: Deploy, tmp_path: Path) -> None:
    deploy(fault="no package")
    assert deploy().returncode == 0
    assert calls(tmp_path)[-1] == "-P -m gateway deploy"


def test_too_little_space_is_said_before_anything_is_made(
    deploy: Deploy, checkout: Path, tmp_path: Path
) -> None:
    df = tmp_path / "bin" / "df"
    df.write_text("#!/bin/bash\necho head; echo disk 1 1 2048000 99% /\n")
    df.chmod(0o755)
    done = deploy()
    assert f"the disk of {checkout} has 2000 MB left; at least 3000 MB are needed" in done.stderr
    assert not (checkout / ".venv").exists()


def test_without_a_usable_python_it_says_how_to_name_one(deploy: Deploy, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("dirname", "cat", "cksum", "df", "awk"):
        (tools / tool).symlink_to(shutil.which(tool) or tool)
    done = deploy(fault="old", path=f"{tmp_path / 'bin'}:{tools}")
    assert done.returncode == 1
    assert "no Python 3.11 or newer was found; install one, or name it: PYTHON=" in done.stderr


@pytest.mark.parametrize(
    ("python", "message"),
    [("/no/such/python", "is not a program"), ("/bin/false", "is not a Python 3.11 or newer")],
)
def test_a_python_that_is_none_is_named(deploy: Deploy, python: str, message: str) -> None:
    assert f"PYTHON={python} {message}" in deploy(PYTHON=python).stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("--status",), 3), (("--undeploy", "k3"), 3), (("--stop",), 0), (("--leave",), 0)],
)
def test_before_the_first_run_nothing_is_installed_to_look_or_to_stop(
    deploy: Deploy, tmp_path: Path, arguments: tuple[str, ...], code: int
) -> None:
    assert deploy(*arguments).returncode == code
    assert not (tmp_path / "calls").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--stop", "--list"), "--stop and --list do not go together"),
        (("--undeploy",), "--undeploy needs the name of a model"),
        (("--undeploy", "k3", "sd"), "--undeploy takes one name: sd"),
        (("--join",), "--join needs the HOST:PORT of a cluster"),
        (("--join", "head:6379", "--leave"), "--join and --leave do not go together"),
    ],
)
def test_words_that_make_no_sense_are_refused(
    deploy: Deploy, arguments: tuple[str, ...], message: str
) -> None:
    done = deploy(*arguments)
    assert done.returncode == 1
    assert message in done.stderr


def test_it_works_through_a_link_from_another_folder(deploy: Deploy, tmp_path: Path) -> None:
    deploy()
    link = tmp_path / "link"
    link.symlink_to("checkout/deploy_kandinsky.sh")
    environment = {"PATH": "/usr/bin:/bin", "CALLS": str(tmp_path / "calls"), "FAULT": ""}
    subprocess.run([str(link), "--list"], env=environment, cwd="/", check=True)
    assert calls(tmp_path)[-1] == "-P -m gateway list"


def test_nothing_is_installed_into_an_existing_environment_without_a_word(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHON": str(tmp_path / "env/bin/python"), "KANDINSKY_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True)
    done = subprocess.run(
        [str(ROOT / "deploy_kandinsky.sh")],
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 1
    assert "ray[serve]" in done.stderr
    assert "nothing was installed. Allow it with --install, or run:" in done.stderr


def test_a_complete_environment_lacks_nothing() -> None:
    script = str(ROOT / "scripts/requirements.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout == ""
