#!/usr/bin/env bash
# Proves that the official Python client works with the emulator: starts the emulator on free ports,
# installs azure-servicebus into folders of its own below target/, and runs send_and_receive.py.
#
#   check.sh [VERSION…]      versions of azure-servicebus [default: the latest known, and the one before]
set -euo pipefail
cd "$(dirname "$0")/../.."

cargo build --quiet --package raft-mocking --bin service-bus-emulator
target=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')
# They read the wire differently: 7.14 looks up fields by their place that 7.15 can do without.
versions=("${@:-}")
[ -n "${versions[0]}" ] || versions=(7.15.0 7.14.3)

coproc EMULATOR { exec "$target/debug/service-bus-emulator" --amqp-port 0 --admin-port 0 --topic rafttopic:server-1 --json; }
emulator=$EMULATOR_PID
trap 'kill "$emulator" 2>/dev/null || true; wait "$emulator" 2>/dev/null || true' EXIT
# The first line says that it is ready, and how to reach it.
read -r ready <&"${EMULATOR[0]}"
CONNECTION_STRING=$(python3 -c 'import json,sys; print(json.loads(sys.argv[1])["connection_string"])' "$ready")
export CONNECTION_STRING
for version in "${versions[@]}"; do
    venv="$target/python-client/$version"
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "azure-servicebus==$version"
    echo "azure-servicebus $version"
    "$venv/bin/python" raft-mocking/python/send_and_receive.py
done
