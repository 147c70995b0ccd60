#!/usr/bin/env bash
# Runs the Java client cases against a broker that it starts itself on free loopback ports, restarts and stops again. See README.md.
set -u -o pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
broker=ringmq
client=all
serialize=all
cases=
messages=10000
keep=no
prepare=no
settings=()

usage() {
    echo "usage: $0 [--broker ringmq|java|java497] [--client 497|550|all] [--serialize json|rocketmq|all] [--cases a,b] [--messages N] [--set KEY=VALUE]... [--keep] [--prepare]"
    echo "  RINGMQ names the executable (default $root/target/release/ringmq); RINGMQ_ARGS are added to its arguments; --set adds a line to the Java broker's configuration; --keep leaves the working directory; --prepare only fetches what all this needs."
}

while [ $# -gt 0 ]; do
    case "$1" in
        --broker | --client | --serialize | --cases | --messages)
            [ $# -ge 2 ] || { echo "$1 needs a value" >&2; usage >&2; exit 2; }
            declare "${1#--}=$2"
            shift 2 ;;
        --set)
            [ $# -ge 2 ] || { echo "$1 needs a value" >&2; exit 2; }
            settings+=("$2")
            shift 2 ;;
        --keep) keep=yes; shift ;;
        --prepare) prepare=yes client=all; shift ;;
        --help | -h) usage; exit 0 ;;
        *) echo "unknown argument $1" >&2; usage >&2; exit 2 ;;
    esac
done
case "$broker" in ringmq | java | java497) ;; *) echo "--broker $broker: not ringmq, java or java497" >&2; exit 2 ;; esac
case "$client" in 497 | 550) clients=$client ;; all) clients="497 550" ;; *) echo "--client $client: not 497, 550 or all" >&2; exit 2 ;; esac
case "$serialize" in json | rocketmq) formats=$serialize ;; all) formats="json rocketmq" ;; *) echo "--serialize $serialize: not json, rocketmq or all" >&2; exit 2 ;; esac
[[ "$messages" =~ ^[1-9][0-9]*$ ]] || { echo "--messages $messages: not a positive number" >&2; exit 2; }

# 5.5.0's admin and lite pull clients need requests that a 4.9.7 broker does not know.
if [ "$broker" = java497 ] && [ "$client" = all ]; then clients=497; fi

work=$(mktemp -d "${TMPDIR:-/tmp}/ringmq-java-cases.XXXXXX")
pids=()

# Stops what this script started: SIGTERM, and SIGKILL after 30 s.
stop_all() {
    local pid waited
    for pid in "${pids[@]+"${pids[@]}"}"; do
        kill -TERM "$pid" 2>/dev/null
    done
    for pid in "${pids[@]+"${pids[@]}"}"; do
        waited=0
        while kill -0 "$pid" 2>/dev/null; do
            sleep 0.1
            waited=$((waited + 1))
            if [ "$waited" -eq 300 ]; then
                echo "pid $pid did not end within 30 s of SIGTERM, killed"
                kill -KILL "$pid"
            fi
        done
        wait "$pid" 2>/dev/null
    done
    pids=()
}

cleanup() {
    stop_all
    if [ "$keep" = yes ]; then echo "kept $work"; else rm -rf "$work"; fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# A port of which its neighbours (VIP: -2, replication: +1) are free as well.
free_port() {
    python3 - "$@" <<'PY'
import random, socket, sys
taken = {int(port) for port in sys.argv[1:]}
def free(port):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False
while True:
    base = random.randrange(20000, 32000)
    if not any(base - 3 <= port <= base + 3 for port in taken) and all(free(port) for port in range(base - 2, base + 2)):
        print(base)
        break
PY
}

# Builds a profile unless its classpath is newer than pom.xml and the sources given. Offline when everything is there already.
build() {
    local profiles=$1 out=$2
    shift 2
    if [ -f "$out/classpath.txt" ] && [ -z "$(find "$here/pom.xml" "$@" -newer "$out/classpath.txt" -print -quit)" ]; then
        return 0
    fi
    (cd "$here" && { mvn -q -o -B -P"$profiles" package >"$work/mvn.log" 2>&1 || mvn -q -B -P"$profiles" package >"$work/mvn.log" 2>&1; }) \
        || { cat "$work/mvn.log"; echo "maven failed for $profiles"; exit 1; }
    touch "$out/classpath.txt"
}

# Waits for a line on the output of a process.
wait_for() {
    local pid=$1 file=$2 pattern=$3 waited=0
    until grep -qE "$pattern" "$file"; do
        if ! kill -0 "$pid" 2>/dev/null || [ "$waited" -ge 1200 ]; then
            echo "no line \"$pattern\" from pid $pid; its output:"
            tail -n 20 "$file"
            exit 1
        fi
        sleep 0.1
        waited=$((waited + 1))
    done
}

java_server() {
    local name=$1 main=$2
    shift 2
    : >"$work/$name.out"
    java -Xms512m -Xmx1g -XX:+UseG1GC --add-opens java.base/java.nio=ALL-UNNAMED --add-opens java.base/sun.nio.ch=ALL-UNNAMED \
        --add-opens java.base/jdk.internal.ref=ALL-UNNAMED -Djava.net.preferIPv4Stack=true -Duser.home="$work/broker-home" -Drocketmq.home.dir="$work/broker-home" \
        -Drocketmq.namesrv.addr= -cp "$(cat "$reference/classpath.txt")" "$main" "$@" >"$work/$name.out" 2>&1 &
    pids+=($!)
}

start_broker() {
    local started
    started=$(date +%s%N)
    if [ "$broker" = ringmq ]; then
        : >"$work/ringmq.out"
        # shellcheck disable=SC2086
        "$executable" standalone -c "$work/ringmq.conf" --data "$work/data" --port "$port" --namesrv-port "$nsport" ${RINGMQ_ARGS:-} >"$work/ringmq.out" 2>&1 &
        pids+=($!)
        wait_for "${pids[0]}" "$work/ringmq.out" "The Name Server boot success"
        wait_for "${pids[0]}" "$work/ringmq.out" "The broker\[.*boot success"
    else
        java_server namesrv org.apache.rocketmq.namesrv.NamesrvStartup -c "$work/namesrv.conf"
        wait_for "${pids[0]}" "$work/namesrv.out" "The Name Server boot success"
        java_server broker org.apache.rocketmq.broker.BrokerStartup -c "$work/broker.conf"
        wait_for "${pids[1]}" "$work/broker.out" "The broker\[.*boot success"
    fi
    echo "$broker up after $((($(date +%s%N) - started) / 1000000)) ms, name server 127.0.0.1:$nsport, broker 127.0.0.1:$port"
}

passed=0
failed=0
# One JVM; its lines get the name of the combination in front, its totals are added up.
run_cases() {
    local version=$1 format=$2 line
    shift 2
    mkdir -p "$work/home-$version-$format"
    : >"$work/run.out"
    timeout -k 5 400 java -Xmx512m -XX:TieredStopAtLevel=1 -Djava.net.preferIPv4Stack=true -Duser.home="$work/home-$version-$format" \
        -Drocketmq.client.logRoot="$work/home-$version-$format" -Drocketmq.client.localOffsetStoreDir="$work/home-$version-$format/offsets" \
        -Drocketmq.serialize.type="${format^^}" -cp "$here/target/$version/cases.jar:$(cat "$here/target/$version/classpath.txt")" \
        ringmq.cases.Main "127.0.0.1:$nsport" --messages "$messages" --reference "$behaviour" --state "$work/state-$version-$format" ${cases:+--cases "$cases"} "$@" \
        >"$work/run.out" 2>"$work/run.err" &
    local pid=$!
    pids+=("$pid")
    tail -n +1 -f --pid="$pid" -s 0.2 "$work/run.out" | while IFS= read -r line; do
        [[ "$line" =~ ^[0-9]+\ passed ]] || echo "[$version $format] $line"
    done
    wait "$pid"
    local status=$?
    unset 'pids[-1]'
    line=$(tail -n 1 "$work/run.out")
    if [[ "$line" =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
        passed=$((passed + BASH_REMATCH[1]))
        failed=$((failed + BASH_REMATCH[2]))
    else
        echo "[$version $format] FAIL the JVM ended with status $status and without totals:"
        tail -n 20 "$work/run.err"
        failed=$((failed + 1))
    fi
}

for version in $clients; do
    build "client$version" "$here/target/$version" "$here/src"
done
if [ "$prepare" = yes ]; then
    build client550,reference "$here/target/reference-5.5.0"
    build client497,reference "$here/target/reference-4.9.7"
    exit 0
fi
executable=${RINGMQ:-$root/target/release/ringmq}
case "$broker" in
    ringmq) [ -x "$executable" ] || { echo "$executable is not there: build it, or set RINGMQ" >&2; exit 2; } ;;
    java) reference=$here/target/reference-5.5.0; build client550,reference "$reference" ;;
    java497) reference=$here/target/reference-4.9.7; build client497,reference "$reference" ;;
esac
behaviour=550
if [ "$broker" = java497 ]; then behaviour=497; fi
port=$(free_port)
nsport=$(free_port "$port")
mkdir -p "$work/data" "$work/broker-home/conf"
# 4.9.7 does not start without these.
for name in namesrv broker; do
    echo '<configuration><root level="OFF"/></configuration>' >"$work/broker-home/conf/logback_$name.xml"
done
echo "bindAddress=127.0.0.1
listenPort=$nsport" >"$work/namesrv.conf"
# The long waitTimeMillsInSendQueue keeps a busy machine from turning into refused sends.
cat >"$work/broker.conf" <<CONF
brokerClusterName=DefaultCluster
brokerName=broker-a
brokerId=0
brokerIP1=127.0.0.1
brokerIP2=127.0.0.1
bindAddress=127.0.0.1
listenPort=$port
haListenPort=$((port + 1))
namesrvAddr=127.0.0.1:$nsport
autoCreateTopicEnable=true
autoCreateSubscriptionGroup=true
storePathRootDir=$work/data
storePathCommitLog=$work/data/commitlog
mappedFileSizeCommitLog=67108864
mappedFileSizeConsumeQueue=300000
maxIndexNum=40000
maxHashSlotNum=10000
diskMaxUsedSpaceRatio=95
waitTimeMillsInSendQueue=10000
transactionOpBatchInterval=500
CONF
# Producers are asked soon; not so soon that Java asks about what its batch of operations still holds.
# Offsets are in their file after the restart only if the stop has written them.
echo "transactionTimeOut=3000
transactionCheckInterval=2000
flushConsumerOffsetInterval=600000" | tee "$work/ringmq.conf" >>"$work/broker.conf"
printf '%s\n' "${settings[@]+"${settings[@]}"}" >>"$work/broker.conf"

restart=no
if [ -z "$cases" ] || [[ ",$cases," == *,restart,* ]]; then
    restart=yes
fi
# On the command line the two halves of the restart case have one name.
cases=${cases//restart/restart-before,restart-after}
start_broker
for version in $clients; do
    for format in $formats; do
        if [ "$restart" = yes ]; then
            run_cases "$version" "$format" --phase before-restart
        else
            run_cases "$version" "$format"
        fi
    done
done
if [ "$restart" = yes ]; then
    stopping=$(date +%s%N)
    stop_all
    echo "stopped within $((($(date +%s%N) - stopping) / 1000000)) ms"
    start_broker
    for version in $clients; do
        for format in $formats; do
            run_cases "$version" "$format" --phase after-restart
        done
    done
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
