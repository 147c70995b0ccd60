#!/usr/bin/env bash
# The long run: Java clients of many kinds while the broker is killed (2 of 3) or stopped, and started again, at random. See README.md.
set -u -o pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
seconds=60 seed=$RANDOM client=550 pause=20
usage() { echo "usage: $0 [--seconds N] [--seed S] [--client 497|550] [--pause SECONDS]: N seconds of load, a restart every PAUSE/2 to PAUSE*3/2 seconds (0: none)"; }
while [ $# -gt 0 ]; do
    case "$1" in
        --seconds | --seed | --client | --pause) [ $# -ge 2 ] || { usage >&2; exit 2; }; declare "${1#--}=$2"; shift 2 ;;
        --help | -h) usage; exit 0 ;;
        *) echo "unknown argument $1" >&2; usage >&2; exit 2 ;;
    esac
done
executable=${RINGMQ:-$root/target/release/ringmq}
[ -x "$executable" ] || { echo "$executable is not there: build it, or set RINGMQ" >&2; exit 2; }
[ -f "$here/target/$client/classpath.txt" ] || { echo "run $here/run.sh --prepare first" >&2; exit 2; }
work=$(mktemp -d "${TMPDIR:-/tmp}/ringmq-long.XXXXXX")
broker=
driver=
trap 'for pid in $broker $driver; do kill -KILL "$pid" 2>/dev/null; done; [ "${keep:-no}" = yes ] && echo "kept $work" || rm -rf "$work"' EXIT
RANDOM=$seed
# Below the ports that the kernel gives to clients.
port=$((11000 + RANDOM % 2000 * 2)) nsport=$((15100 + RANDOM % 800))
cat >"$work/broker.conf" <<CONF
transactionCheckInterval=5000
transactionTimeOut=2000
CONF
start() {
    # shellcheck disable=SC2086
    "$executable" standalone -c "$work/broker.conf" --data "$work/data" --port "$port" --namesrv-port "$nsport" ${RINGMQ_ARGS:-} >>"$work/ringmq.out" 2>&1 &
    broker=$!
    # A port may be in use for a moment.
    sleep 1
    kill -0 "$broker" 2>/dev/null || start
}
start
sleep 2
mkdir -p "$work/home"
java -Xmx"$((1 + seconds / 400))g" -XX:TieredStopAtLevel=1 -Djava.net.preferIPv4Stack=true -Duser.home="$work/home" -Drocketmq.client.logRoot="$work/home" \
    -Drocketmq.client.localOffsetStoreDir="$work/home/offsets" -cp "$here/target/$client/cases.jar:$(cat "$here/target/$client/classpath.txt")" \
    ringmq.cases.LongRun "127.0.0.1:$nsport" --seconds "$seconds" --seed "$seed" >"$work/run.out" 2>"$work/run.err" &
driver=$!
kills=0 stops=0
end=$((SECONDS + seconds))
while [ "$pause" -gt 0 ] && kill -0 "$driver" 2>/dev/null; do
    sleep $((pause / 2 + RANDOM % (pause + 1)))
    [ "$SECONDS" -lt "$end" ] || break
    if [ $((RANDOM % 3)) -eq 0 ]; then
        kill -TERM "$broker"; stops=$((stops + 1))
    else
        kill -KILL "$broker"; kills=$((kills + 1))
    fi
    wait "$broker" 2>/dev/null
    sleep $((RANDOM % 3))
    start
done
wait "$driver"
status=$?
cat "$work/run.out"
echo "$kills kills, $stops stops, seed $seed"
if [ "$status" -ne 0 ]; then keep=yes; tail -n 20 "$work/run.err"; tail -n 20 "$work/ringmq.out"; fi
exit "$status"
