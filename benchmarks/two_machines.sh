#!/usr/bin/env bash
# What survives what, on two "machines": network namespaces with names and addresses of their own.
#
#   sudo benchmarks/two_machines.sh [PYTHON]
#
# One gateway on the head, the demo model's engine on the other machine. Needs Linux, root and iproute2. Prints how
# long the service does not answer after each kill. Everything lies in a temporary folder and ends with the script.
set -u -o pipefail

root="$(cd "$(dirname "$0")/.." && pwd)"
python="${1:-$root/.venv/bin/python}"
folder="$(mktemp -d)"
body='{"model": "demo", "prompt": "a lake", "seed": 7, "response_format": "url"}'
slow='{"model": "demo", "prompt": "a lake", "seed": 7, "size": "256x256", "num_inference_steps": 200}'

on() { # MACHINE COMMAND ...: run a command there
    local machine="$1"
    shift
    ip netns exec "kandinsky-$machine" unshare --uts sh -c 'hostname "$0"; exec "$@"' "$machine" \
        env KANDINSKY_HOME="$folder/$machine" PYTHONPATH="$root" "$@"
}
program() { on "$1" "$python" -P -m gateway "${@:2}" 2>/dev/null; }
field() { "$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))'"$2"')' "$folder/$1"; }
ask() { on head curl -s -m 120 -o /dev/null -w '%{http_code}' http://127.0.0.1:8000/v1/images/generations \
    -H 'Content-Type: application/json' -d "$1"; }
until_answered() {
    local started
    started="$(date +%s%N)"
    until [ "$(ask "$body")" = 200 ]; do sleep 0.1; done
    echo "  answers after $((($(date +%s%N) - started) / 100000000)) tenths of a second"
}
kill_in() { # MACHINE TITLE: SIGKILL for the process of that title
    local pid namespace
    namespace="$(ip netns exec "kandinsky-$1" readlink /proc/self/ns/net)"
    for pid in $(pgrep -f "$2"); do
        [ "$(readlink "/proc/$pid/ns/net")" = "$namespace" ] && kill -9 "$pid"
    done
}
finish() {
    program node leave --seconds 0 >/dev/null
    program head stop >/dev/null
    ip netns del kandinsky-head
    ip netns del kandinsky-node
    rm -rf "$folder"
}

ip netns add kandinsky-head && ip netns add kandinsky-node || exit 1
trap finish EXIT
ip link add kandinsky0 netns kandinsky-head type veth peer name kandinsky1 netns kandinsky-node
for machine in head:kandinsky0:1 node:kandinsky1:2; do
    IFS=: read -r name link number <<<"$machine"
    ip -n "kandinsky-$name" addr add "10.77.1.$number/24" dev "$link"
    ip -n "kandinsky-$name" link set "$link" up
    ip -n "kandinsky-$name" link set lo up
done

program head deploy --cluster-host 10.77.1.1 --resource slot --threads 1 >/dev/null || exit 1
join() { program node join 10.77.1.1:6379 --resource slot "$@" >/dev/null; }
join --token-file "$folder/head/auth_token" || exit 1
until_answered

echo "leave with a picture being drawn"
ask "$slow" >"$folder/answer" &
sleep 2
program node leave >/dev/null
wait $!
echo "  it was answered with $(cat "$folder/answer")"
join && until_answered

echo "SIGKILL of the node's raylet with a picture being drawn; the node joins again"
ask "$slow" >"$folder/answer" &
sleep 2
kill -9 "$(field node/node.json '["raylet"]["pid"]')"
join
wait $!
echo "  it was answered with $(cat "$folder/answer")"

for title in ServeReplica:gateway ray::ProxyActor ray::ServeController; do
    echo "SIGKILL of $title"
    kill_in head "$title"
    until_answered
done

echo "SIGKILL of everything on the head, then start"
for pid in $(ps -o pid= -s "$(field head/cluster.json '["session"]')"); do kill -9 "$pid"; done
program head start >/dev/null
until_answered
