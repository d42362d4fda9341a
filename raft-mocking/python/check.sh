#!/usr/bin/env bash
# Proves that the official Python client works with the emulator: starts the emulator on free ports,
# installs azure-servicebus into a folder of its own below target/, and runs send_and_receive.py.
set -euo pipefail
cd "$(dirname "$0")/../.."

cargo build --quiet --package raft-mocking --bin service-bus-emulator
target=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')
venv="$target/python-client"
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
fi
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement raft-mocking/python/requirements.txt

coproc EMULATOR { exec "$target/debug/service-bus-emulator" --amqp-port 0 --admin-port 0 --topic rafttopic:server-1 --json; }
emulator=$EMULATOR_PID
trap 'kill "$emulator" 2>/dev/null || true; wait "$emulator" 2>/dev/null || true' EXIT
# The first line says that it is ready, and how to reach it.
read -r ready <&"${EMULATOR[0]}"
CONNECTION_STRING=$(python3 -c 'import json,sys; print(json.loads(sys.argv[1])["connection_string"])' "$ready")
export CONNECTION_STRING
"$venv/bin/python" raft-mocking/python/send_and_receive.py
