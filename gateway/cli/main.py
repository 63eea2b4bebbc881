"""The command line: ``kandinsky-gateway``, also ``python -m gateway``.

Importing this module is cheap: what a command needs is imported when it runs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from gateway.control import Control

app = typer.Typer(
    help="Serve Kandinsky and other diffusers models behind an OpenAI-compatible images API.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

cache = typer.Typer(
    help="The models that were converted from other formats: list them, remove them.", no_args_is_help=True
)
app.add_typer(cache, name="cache")

Foreground = Annotated[
    bool, typer.Option("--foreground", help="Stay, and end the service when interrupted (for supervisors).")
]
ClusterHost = Annotated[
    str | None,
    typer.Option(help="Address of this machine at which others may join (without it, none can)."),
]
Components = Annotated[
    list[str] | None,
    typer.Option(help="A part of the model that lies elsewhere, as NAME=PATH (repeatable)."),
]


@app.command()
def deploy(
    model: Annotated[
        str | None,
        typer.Argument(
            help="Model folder or file, or a hub's org/name[@revision]; without it the demo model.",
            show_default=False,
        ),
    ] = None,
    model_name: Annotated[str | None, typer.Option(help="Name to serve it under.")] = None,
    prior: Annotated[Path | None, typer.Option(help="Folder of a Kandinsky 2 decoder's prior.")] = None,
    component: Components = None,
    alias: Annotated[
        list[str] | None,
        typer.Option(help="Another name for it (repeatable); '*' answers to every unknown name."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cuda, mps or cpu.")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, float16 or bfloat16.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="torch's threads on the CPU.")] = None,
    idle_seconds: Annotated[
        float | None, typer.Option(min=0, help="How long it may idle before it sleeps.")
    ] = None,
    max_replicas: Annotated[int | None, typer.Option(min=1, help="Most copies loaded at once.")] = None,
    num_gpus: Annotated[float | None, typer.Option(min=0, help="GPUs to reserve for a copy.")] = None,
    resource: Annotated[
        list[str] | None,
        typer.Option(help="A name that its machine must have joined with, as NAME or NAME=AMOUNT."),
    ] = None,
    memory_gb: Annotated[
        float | None, typer.Option(min=0, help="Memory it needs on its device; measured where not said.")
    ] = None,
    keep_warm: Annotated[
        bool | None, typer.Option(help="Load it at once, and never send it to sleep for others.")
    ] = None,
    warm_up: Annotated[
        bool | None, typer.Option(help="Draw a picture at the end of the load (on a GPU it does).")
    ] = None,
    max_queued: Annotated[int | None, typer.Option(min=1, help="Most requests that may wait for it.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images denoised together.")] = None,
    moderation: Annotated[
        bool | None, typer.Option(help="Refuse what the model's own safety checker objects to.")
    ] = None,
    offload: Annotated[
        str | None,
        typer.Option(help="Weights that wait outside the GPU: none, model, group or sequential."),
    ] = None,
    quantize: Annotated[
        list[str] | None,
        typer.Option(help="Fewer bits for a component, as NAME=int8, float8, nf4 or none (repeatable)."),
    ] = None,
    size_fit: Annotated[
        str | None, typer.Option(help="A size that it was not made for: error, or resize the picture.")
    ] = None,
    fallback: Annotated[
        str | None,
        typer.Option(help="Model that answers OpenAI's calls while this one is not awake; '' for none."),
    ] = None,
    cluster_host: ClusterHost = None,
    foreground: Foreground = False,
) -> None:
    """Serve a model; starts the service if it does not run.

    What is not said stays as it is with a model that is deployed already.
    """
    from gateway.cli.deploy import amounts, kinds, run

    options: dict[str, Any] = {
        "device": device,
        "dtype": dtype,
        "threads": threads,
        "idle_seconds": idle_seconds,
        "max_replicas": max_replicas,
        "num_gpus": num_gpus,
        "resources": amounts(tuple(resource)) if resource else None,
        "memory_gb": memory_gb,
        "keep_warm": keep_warm,
        "warm_up": warm_up,
        "max_queued": max_queued,
        "batch_size": batch_size,
        "moderation": moderation,
        "offload": offload,
        "quantize": kinds(tuple(quantize)) if quantize else None,
    }
    run(
        _control(CLUSTER_HOST=cluster_host),
        model=model,
        name=model_name,
        prior=prior,
        components=tuple(component or ()),
        aliases=tuple(alias or ()),
        size_fit=size_fit,
        fallback=fallback,
        options={name: value for name, value in options.items() if value is not None},
        foreground=foreground,
    )


@app.command()
def add_remote(
    name: Annotated[str, typer.Argument(help="Name to serve it under.")],
    base_url: Annotated[str, typer.Option(help="Where the other server's API is: https://…/v1.")],
    model: Annotated[str, typer.Option(help="Name of the model there.")],
    api_key_env: Annotated[
        str | None,
        typer.Option(help="Variable with the key: kept in the state folder if set here, else the gateway's."),
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(help="File with the key; the gateway reads it for every call.")
    ] = None,
    alias: Annotated[list[str] | None, typer.Option(help="Another name for it (repeatable).")] = None,
    timeout: Annotated[float | None, typer.Option(help="Longest silence, in seconds (600).")] = None,
    max_retries: Annotated[int | None, typer.Option(help="Repetitions of a failed call (0).")] = None,
) -> None:
    """Serve a model of another OpenAI-compatible server; undeploy takes it away.

    What is not said stays as it is with a remote model of this name.
    """
    from gateway.cli.remote import run
    from gateway.remote_order import RemoteOrder

    order = RemoteOrder(
        name=name,
        base_url=base_url,
        model=model,
        key_variable=api_key_env,
        key_file=api_key_file,
        aliases=tuple(alias or ()),
        timeout_seconds=timeout,
        max_retries=max_retries,
    )
    run(_control(), order)


@app.command(name="list")
def list_models() -> None:
    """List the models on disk (MODELS_DIR, default /data/models), and those of other servers."""
    from gateway.cli.listing import run

    run(_control(), os.environ)


@app.command()
def pack(
    model: Annotated[Path, typer.Argument(help="Model folder or file.")],
    target: Annotated[Path, typer.Argument(help="The file to write (.safetensors).")],
    prior: Annotated[Path | None, typer.Option(help="Folder of a Kandinsky 2 decoder's prior.")] = None,
    component: Components = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a model as one file that holds all of it: weights, configurations, tokenizers."""
    from gateway.cli.packing import run

    run(model, target, prior=prior, components=tuple(component or ()), force=force)


@cache.command(name="list")
def list_cache() -> None:
    """List the models that were converted, the one last used first."""
    from gateway.cli.cache import show

    show(os.environ)


@cache.command()
def prune(
    everything: Annotated[bool, typer.Option("--all", help="Remove every one that is not in use.")] = False,
    older_than: Annotated[
        float | None, typer.Option(min=0, help="Remove those that were not used for so many days.")
    ] = None,
) -> None:
    """Remove converted models, and what conversions that were killed have left."""
    from gateway.cli.cache import remove

    remove(os.environ, everything=everything, days=older_than)


@app.command()
def status() -> None:
    """Show the deployed models and their state; exit code 3 if no service runs."""
    from gateway.cli.status import run

    run(_control())


@app.command()
def undeploy(name: Annotated[str, typer.Argument(help="Name of a deployed model.")]) -> None:
    """Take a model out of service."""
    control = _control()
    control.undeploy(name)
    print(f"{name} is no longer deployed.")


@app.command()
def start(
    cluster_host: ClusterHost = None,
    gateways: Annotated[
        str | None,
        typer.Option(help="How many gateways answer: a number, or every-node."),
    ] = None,
    foreground: Foreground = False,
) -> None:
    """Start the service with the models it served last."""
    from gateway.cli.foreground import stay

    control = _control(CLUSTER_HOST=cluster_host, KANDINSKY_GATEWAYS=gateways)
    cluster, deployed = control.start()
    names = ", ".join(entry.name for entry in deployed.entries) or "no model yet"
    print(f"The service runs at {cluster.url} with {names}.", flush=True)
    if cluster.joined_at is not None:
        token = f"--token-file FILE (a copy of {cluster.token_file})"
        print(f"Other machines join it with: join {cluster.joined_at} {token}", flush=True)
    if foreground:
        stay(control)


@app.command()
def stop() -> None:
    """Stop the service; the next start brings its models back."""
    print("Stopped." if _control().stop() else "Nothing was running.")


@app.command()
def join(
    address: Annotated[str, typer.Argument(help="HOST:PORT of the head's cluster, as in 10.0.0.1:6379.")],
    token_file: Annotated[
        Path | None, typer.Option(help="A copy of the head's auth_token; - reads standard input.")
    ] = None,
    resource: Annotated[
        list[str] | None,
        typer.Option(help="A name to pin models to this machine by, as NAME or NAME=AMOUNT (repeatable)."),
    ] = None,
    num_gpus: Annotated[float | None, typer.Option(min=0, help="GPUs to offer; without it all.")] = None,
    node_ip: Annotated[
        str | None, typer.Option(help="Address at which the cluster reaches this machine.")
    ] = None,
    foreground: Foreground = False,
) -> None:
    """Make this machine a node of another one's cluster: engines run here, too."""
    from gateway.cli import membership

    membership.join(
        address,
        token_file=token_file,
        node_ip=node_ip,
        resources=tuple(resource or ()),
        num_gpus=num_gpus,
        foreground=foreground,
    )


@app.command()
def leave(
    seconds: Annotated[
        int, typer.Option(min=0, help="How long what is being drawn here has to end; 0 leaves at once.")
    ] = 300,
) -> None:
    """Take this machine out of the cluster that it joined."""
    from gateway.cli import membership

    print("Left." if membership.member_of_here().leave(seconds) else "This machine was in no cluster.")


@app.command()
def export(
    into: Annotated[
        Path | None, typer.Option(help="A file with a RayService (KubeRay): print it with these models.")
    ] = None,
) -> None:
    """Print what is deployed as Ray Serve's configuration, for a cluster that somebody else runs."""
    from gateway.cli.export import run

    run(_control(), into=into)


def _control(**variables: str | None) -> Control:
    """The service of this state folder; ``variables`` that were given win over the environment's."""
    from gateway.cli.progress import Progress
    from gateway.control import Control
    from gateway.state import StateFolder, state_root

    given = {name: value for name, value in variables.items() if value is not None}
    return Control(StateFolder(state_root(os.environ)), {**os.environ, **given}, Progress())


def main() -> None:
    """Run the command line; a problem is one message on standard error and an exit code."""
    from gateway.problems import Problem

    try:
        app(prog_name="kandinsky-gateway")
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(problem.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
