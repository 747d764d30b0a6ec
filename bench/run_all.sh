#!/bin/sh
# Licensed under the Apache License, Version 2.0; see LICENSE.
# All benches, then the tables: about 50 minutes on two cores; with --quick two minutes of tiny numbers that prove nothing
# but that everything works. See README.md.
# Usage: run_all.sh [--quick] [OUT]     OUT: directory of the results, default ./bench-results
set -e
quick=
if test "$1" = --quick; then quick=1; shift; fi
out=${1:-bench-results}
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-/usr/bin/python3}
subjects=${SUBJECTS:-ssl,md,acmeclient}
PYTHONDONTWRITEBYTECODE=1; export PYTHONDONTWRITEBYTECODE

run() {
    bench=$1; shift
    "$python" "$here/$bench.py" --subjects "$subjects" --out "$out" "$@"
}

if test -n "$quick"; then
    run latency --rounds 1 --challenges http-01
    run restart --rounds 1 --n 5 --gracefuls 1 --settle 0.5
    run handshake --rounds 1 --n 1 --keys ec --seconds 0.5 --settle 1
    run swap --n 3 --swaps 2 --every 5 --validity 12 --rate 50 --threads 100
else
    run latency --rounds 7
    run latency --rounds 3 --challenges http-01 --retry-after 1
    run latency --rounds 1 --challenges http-01 --n 100
    run restart --rounds 5 --n 1000
    run handshake --rounds 15 --n 1,1000 --keys ec,rsa
    run instructions
    run swap --n 1000 --swaps 20
fi
"$python" "$here/table.py" "$out" | tee "$out/table.md"
