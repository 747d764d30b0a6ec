#!/bin/sh
# Licensed under the Apache License, Version 2.0; see LICENSE.
# docs/SEED.md has the seed's rows, each once and in order, and every test it names exists.
# Usage: check_seed.sh [SOURCE TREE]
LC_ALL=C; export LC_ALL
cd "${1:-${srcdir:-.}}" || exit 2
list=docs/SEED.md
rc=0
say() { echo "$*"; rc=1; }
wanted=$(for row in A:9 B:7 C:7 D:10 E:5 F:13; do
    n=1
    while test $n -le "${row#*:}"; do echo "${row%:*}$n"; n=$((n + 1)); done
done)
rows=$(sed -n 's/^| \([A-F][0-9]*\) | .*/\1/p' $list)
test "$rows" = "$wanted" || say "$list: the rows are not A1 to F13, each once and in order"
while read -r line; do
    case $line in "| "[A-F][0-9]*) ;; *) continue ;; esac
    row=$(echo "$line" | cut -d '|' -f 2 | tr -d ' ')
    tests=$(echo "$line" | cut -d '|' -f 4)
    named=$(echo "$tests" | tr -d ' -')
    # A8 asks for nothing.
    test -n "$named" || test "$row" = A8 || say "$list: $row names no test"
    for test in $tests; do
        name=${test#*:} file=${test%%:*}
        case $test in
        test_*.c:*) grep -qE "^START_TEST\($name\)" "test/unit/$file" 2>/dev/null || say "$list: $row: no $test" ;;
        test_*.py:*) grep -qE "^def $name\(" "test/httpd/$file" 2>/dev/null || say "$list: $row: no $test" ;;
        -) ;;
        *) say "$list: $row: $test is no test" ;;
        esac
    done
done <$list
exit $rc
