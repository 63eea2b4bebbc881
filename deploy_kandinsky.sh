#!/usr/bin/env bash
# Serve Kandinsky models behind an OpenAI-compatible images API. See --help.
set -u -o pipefail

usage() {
    cat <<'END'
Usage: ./deploy_kandinsky.sh [PATH] [OPTION ...]

Serves the model at PATH, or the demo model without one: installs what is needed
into .venv, starts the service if it does not run, and returns when it answers.

  PATH                  a model folder or file, or a hub's org/name[@revision]
  --model-name NAME     the name to serve it under
  --prior PATH          the prior of a Kandinsky 2 decoder
  --component NAME=PATH a part of the model that lies elsewhere (repeatable)
  --alias NAME          another name for it (repeatable); '*' answers to every name
  --resource NAME       run its engine on a machine that joined with this name
  --device, --dtype, --threads, --idle-seconds, --max-replicas, --num-gpus,
  --batch-size, --size-fit, --offload, --quantize, --fallback VALUE, --moderation
                        how its engine runs
  --foreground          stay, and stop the service when interrupted
  --install             allow installing into an environment that PYTHON names

  --list                the models under MODELS_DIR, and what can be done with them
  --status              the deployed models and their state
  --undeploy NAME       take a model out of service
  --start               start the service with the models that it served last
  --stop                stop the service; the next start brings its models back
  --help                this text

Several machines (docs/cluster.md):
  --cluster-host IP     let other machines join at this address of this one
  --join HOST:PORT      make this machine a node of another one's cluster, with
                        --token-file FILE, --resource NAME, --num-gpus N, --node-ip IP
  --leave               take it out of that cluster again

Environment:
  HOST, PORT            where the service listens (127.0.0.1, 8000)
  MODELS_DIR            where models are looked for (/data/models)
  PYTHON                an interpreter; one of an environment that has Ray, or of any
                        virtual environment, is used as it is
  RAY_ADDRESS           an existing Ray cluster to use instead of an own one
  KANDINSKY_CACHE       where converted models are kept (~/.cache/kandinsky-gateway)
  KANDINSKY_HOME        the state folder (~/.local/state/kandinsky-gateway)
END
}

# The folder of this script, also when it is called through a link.
source="${BASH_SOURCE[0]}"
while [ -L "$source" ]; do
    folder="$(cd -P "$(dirname "$source")" && pwd)"
    source="$(readlink "$source")"
    case "$source" in /*) ;; *) source="$folder/$source" ;; esac
done
root="$(cd -P "$(dirname "$source")" && pwd)"
# shellcheck source=scripts/environment.sh
. "$root/scripts/environment.sh"

command=deploy
name=""
address=""
install=no
arguments=()

# One command at a time.
choose() {
    [ "$command" = deploy ] || [ "$command" = "$1" ] || fail "--$command and --$1 do not go together"
    command="$1"
}

while [ $# -gt 0 ]; do
    case "$1" in
        -h | --help)
            usage
            exit 0
            ;;
        --list | --status | --stop | --start | --leave) choose "${1#--}" ;;
        --join | --join=*)
            choose join
            if [ "$1" = --join ]; then
                [ $# -ge 2 ] || fail "--join needs the HOST:PORT of a cluster"
                shift
            fi
            address="${1#--join=}"
            ;;
        --undeploy | --undeploy=*)
            choose undeploy
            if [ "$1" = --undeploy ]; then
                [ $# -ge 2 ] || fail "--undeploy needs the name of a model"
                shift
            fi
            name="${1#--undeploy=}"
            ;;
        --install) install=yes ;;
        *) arguments+=("$1") ;;
    esac
    shift
done

[ "$command" = undeploy ] && [ ${#arguments[@]} -gt 0 ] && fail "--undeploy takes one name: ${arguments[*]}"

# Whether $PYTHON belongs to an environment of somebody's own: a virtual one, or one that has Ray.
is_existing_environment() {
    "$1" -c 'import importlib.util as util, sys
sys.exit(sys.prefix == sys.base_prefix and util.find_spec("ray") is None)' >/dev/null 2>&1
}

# Use an environment as it is; what is missing is installed only with the owner's word.
use_existing_environment() {
    local missing answer=""
    missing="$("$python" "$root/scripts/requirements.py")" || fail "$python could not be asked for its packages"
    if [ -n "$missing" ]; then
        say "The environment of $python lacks:"
        printf '%s\n' "$missing" | sed 's/^/  /' >&2
        if [ "$install" = no ] && [ -t 0 ]; then
            printf 'Install them into it? [y/N] ' >&2
            read -r answer
        fi
        case "$install$answer" in
            yes* | no[yY]*) install_missing "$missing" ;;
            *)
                fail "nothing was installed. Allow it with --install, or run:" \
                    "$python -m pip install $(printf '%s\n' "$missing" | sed "s/.*/'&'/" | tr '\n' ' ')"
                ;;
        esac
    fi
    use_checkout
}

install_missing() {
    local log requirements=() line
    while IFS= read -r line; do requirements+=("$line"); done <<<"$1"
    log="$(mktemp "${TMPDIR:-/tmp}/kandinsky-install.XXXXXX")" || fail "no temporary file could be made"
    say "Installing into the environment of $python"
    "$python" -m pip install --no-input --disable-pip-version-check --progress-bar off \
        "${requirements[@]}" 2>&1 | tee "$log" | show_pip_progress
    [ "${PIPESTATUS[0]}" -eq 0 ] || explain_pip_failure "$log"
    rm -f "$log"
}

# Run from the checkout without installing it: on the path, with the metadata that an editable install
# would leave there.
use_checkout() {
    export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
    "$python" - "$root" <<'END' || fail "$root cannot be written"
import pathlib, sys, tomllib
root = pathlib.Path(sys.argv[1])
project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
information = root / "kandinsky_gateway.egg-info" / "PKG-INFO"
if not information.exists():
    information.parent.mkdir(exist_ok=True)
    information.write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
END
}

# Commands that look at a running service, or end it, install nothing and update nothing.
needs_installation() {
    case "$command" in status | stop | undeploy | leave) return 1 ;; *) return 0 ;; esac
}

if [ -n "${PYTHON:-}" ]; then
    python="$(find_python)" || exit 1
fi
if [ -n "${PYTHON:-}" ] && is_existing_environment "$python"; then
    use_existing_environment
elif needs_installation; then
    ensure_environment ""
    python="$venv/bin/python"
elif [ -f "$stamp" ]; then
    python="$venv/bin/python"
elif [ "$command" = stop ]; then
    echo "Nothing was running."
    exit 0
elif [ "$command" = leave ]; then
    echo "This machine was in no cluster."
    exit 0
else
    say "error: nothing is installed yet, so no service runs here"
    exit 3
fi

set -- "$command"
[ "$command" = undeploy ] && set -- "$@" -- "$name"
[ "$command" = join ] && set -- "$@" "$address"
# -P: nothing that lies in the working folder shadows a package. The expansion of the array is written
# so that bash before 4.4 takes an empty one.
exec "$python" -P -m gateway "$@" ${arguments[@]+"${arguments[@]}"}
