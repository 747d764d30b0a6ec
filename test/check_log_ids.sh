#!/bin/sh
# Licensed under the Apache License, Version 2.0; see LICENSE.
# AC0xxx: one call site per number, in a known range, none left empty.
# Usage: check_log_ids.sh [SOURCE TREE]
LC_ALL=C; export LC_ALL
cd "${1:-${srcdir:-.}}" || exit 2
# Code that asks for an id is no call site.
ids=$(find src mod_acmeclient acmectl -name '*.c' -exec grep -nE '"AC[0-9]' {} /dev/null \; 2>/dev/null |
    grep -v 'strcmp' | sed -E 's/^([^:]*:[0-9]*:).*"(AC[0-9A-Za-z]*).*/\1\2/')
test -n "$ids" || { echo "no log id found"; exit 2; }
rc=0
odd=$(echo "$ids" | grep -vE ':AC0[1-9][0-9]{2}$' | grep -E ':AC[0-9]*$')
test -z "$odd" || { printf 'not AC0xxx:\n%s\n' "$odd"; rc=1; }
twice=$(echo "$ids" | grep -oE 'AC0[0-9]{3}$' | sort | uniq -d)
for id in $twice; do
    echo "$id has more than one call site:"
    echo "$ids" | grep -E ":$id\$"
    rc=1
done
exit $rc
