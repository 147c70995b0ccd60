#!/usr/bin/env bash
# Builds RingMQ and the harness, fetches the Java brokers with Maven, and runs scenarios. See perf/README.md.
#
#   perf/run.sh                         all scenarios, then the report: hours
#   perf/run.sh run send-closed         one scenario
#   perf/run.sh run --quick             everything once and short, to see that it works
#   perf/run.sh report | list | machine
#
# RINGMQ_PERF_JAVA=no leaves the Java brokers out. PERF_PROFILE names the cargo profile (default release).
set -euo pipefail
cd "$(dirname "$0")/.."

profile=${PERF_PROFILE:-release}
target=${CARGO_TARGET_DIR:-$PWD/target}
folder=$profile
if [ "$profile" = dev ]; then folder=debug; fi

cargo build --quiet --profile "$profile" -p ringmq -p perf

class_path() { # class_path VERSION
  local out=perf/java/target/$1/classpath.txt
  if [ -s "$out" ] && [ "$out" -nt perf/java/pom.xml ]; then return 0; fi
  echo "fetching the Java broker $1"
  (cd perf/java && { mvn -q -o -B "-Drocketmq.version=$1" package >/dev/null 2>&1 || mvn -q -B "-Drocketmq.version=$1" package; })
}

command=${1:-all}
if [ "$command" = all ] || [ "$command" = run ]; then
  if [ "${RINGMQ_PERF_JAVA:-yes}" = no ]; then
    :
  elif command -v mvn >/dev/null 2>&1 && command -v java >/dev/null 2>&1; then
    class_path 5.5.0
    class_path 4.9.7
  else
    echo "perf/run.sh: no mvn or no java: the Java brokers are left out (install maven and a JDK)" >&2
  fi
fi

export RINGMQ_PERF_HOME=$PWD/perf
if [ "$command" = all ]; then
  "$target/$folder/perf" run
  exec "$target/$folder/perf" report
fi
exec "$target/$folder/perf" "$@"
