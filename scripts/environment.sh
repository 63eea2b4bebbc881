# shellcheck shell=bash
# The virtual environment beside the scripts: found, made, filled, and left alone when it is complete.
# To be sourced; expects `root`, the checkout's folder. Works with bash 3.2, which macOS has.

: "${root:?}"
venv="$root/.venv"
stamp="$venv/.kandinsky-installed"
# Megabytes; the smallest set of packages, unpacked, with room for pip to work.
least_space=3000

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

say() {
    printf '%s\n' "$*" >&2
}

# Whether a command is a Python that runs (the shim of a version manager may not) and is new enough.
is_usable_python() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# Print the interpreter to work with: $PYTHON, or the first usable one of the usual names.
find_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        command -v "$PYTHON" >/dev/null 2>&1 || fail "PYTHON=$PYTHON is not a program"
        is_usable_python "$PYTHON" || fail "PYTHON=$PYTHON is not a Python 3.11 or newer"
        command -v "$PYTHON"
        return
    fi
    for candidate in python3.13 python3.12 python3.11 python3 python; do
        if command -v "$candidate" >/dev/null 2>&1 && is_usable_python "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or newer was found; install one, or name it: PYTHON=/path/to/python $0"
}

# What the environment is made from; it changes with the requirements, and when the checkout moves.
requirements_key() {
    printf '%s %s' "$(cat "$root/pyproject.toml" "$root/constraints.txt" | cksum)" "$root"
}

# Whether the environment is complete for the given extras ("" or "dev"); dev includes the rest.
is_installed() {
    [ -f "$stamp" ] && [ -x "$venv/bin/python" ] || return 1
    local found
    found="$(cat "$stamp")"
    [ "$found" = "$(requirements_key) dev" ] || [ "$found" = "$(requirements_key) $1" ]
}

require_space() {
    local free
    free="$(df -Pk "$root" | awk 'NR == 2 { print int($4 / 1024) }')"
    if [ -n "$free" ] && [ "$free" -lt "$least_space" ]; then
        fail "the disk of $root has $free MB left; at least $least_space MB are needed to install"
    fi
}

make_venv() {
    local python problem
    if [ -x "$venv/bin/python" ] && is_usable_python "$venv/bin/python" &&
        "$venv/bin/python" -c 'import pip' >/dev/null 2>&1; then
        return
    fi
    python="$(find_python)" || exit 1
    "$python" -c 'import venv, ensurepip' >/dev/null 2>&1 ||
        fail "$python has no venv module; install it (Debian, Ubuntu: apt install python3-venv), or set PYTHON"
    say "Making a virtual environment in $venv with $python"
    problem="$("$python" -m venv --clear "$venv" 2>&1)" ||
        fail "the virtual environment could not be made: $problem"
}

# Show the lines of pip's output that tell how far it is, each on its own.
show_pip_progress() {
    local line
    while IFS= read -r line; do
        case "$line" in
            *Downloading*.whl* | *Downloading*.tar.gz* | "Installing collected packages"*)
                line="${line#"${line%%[![:space:]]*}"}"
                printf '  %.100s\n' "$line" >&2
                ;;
        esac
    done
}

# Say why pip failed, as far as its log tells.
explain_pip_failure() {
    local log="$1"
    say "The end of $log:"
    tail -n 15 "$log" >&2
    if grep -q -i 'no space left on device' "$log"; then
        fail "the disk is full: $(df -Ph "$root" | awk 'NR == 2 { print $4 " left on " $6 }')" \
            "(pip unpacks in ${TMPDIR:-/tmp}; TMPDIR names another place)"
    fi
    if grep -q -i -E 'name resolution|connection (refused|timed out)|network is unreachable|proxyerror' "$log"; then
        fail "the package index could not be reached; the whole log is $log"
    fi
    fail "the packages could not be installed; the whole log is $log"
}

# Fill the environment for the given extras ("" or "dev"), unless it is complete.
ensure_environment() {
    local extras="$1" log target
    is_installed "$extras" && return
    require_space
    make_venv
    rm -f "$stamp"
    log="$venv/install.log"
    target="$root${extras:+[$extras]}"
    say "Installing the packages (the first time takes some minutes)"
    "$venv/bin/python" -m pip install --no-input --disable-pip-version-check --progress-bar off \
        -c "$root/constraints.txt" -e "$target" 2>&1 | tee "$log" | show_pip_progress
    # The status of pip, not of what shows its output.
    [ "${PIPESTATUS[0]}" -eq 0 ] || explain_pip_failure "$log"
    printf '%s %s' "$(requirements_key)" "$extras" >"$stamp"
}
