#!/bin/sh
# Licensed under the Apache License, Version 2.0; see LICENSE.
# Nothing that looks like a test is left out: unit suites, their cases, fuzz targets and corpora, pytest files; and
# every source is in Makefile.am.
# Usage: check_tests.sh [SOURCE TREE]
LC_ALL=C; export LC_ALL
cd "${1:-${srcdir:-.}}" || exit 2
rc=0
say() { echo "$*"; rc=1; }

rows=$(sed -n 's/^SUITE(\([a-z0-9_]*\)).*/\1/p' test/unit/suites.h)
test -n "$rows" || say "test/unit/suites.h: no rows"
for noun in $rows; do
    test -f "test/unit/test_$noun.c" || say "test/unit/suites.h: SUITE($noun) has no test_$noun.c"
done
for file in test/unit/test_*.c; do
    noun=${file#test/unit/test_}; noun=${noun%.c}
    echo "$rows" | grep -qx "$noun" || say "$file: not in suites.h"
    grep -qE "^Suite \*${noun}_suite\(void\)" "$file" || say "$file: no Suite *${noun}_suite(void)"
    for test in $(sed -n 's/^START_TEST(\([A-Za-z0-9_]*\)).*/\1/p' "$file"); do
        # Added by tcase_add_* or by a table or macro of the file: anywhere but in its own first line.
        grep -vE "^START_TEST\($test\)" "$file" | grep -qE "\b$test\b" || say "$file: $test is never added"
    done
    grep -q 'tcase_add_' "$file" || say "$file: adds no test"
    grep -q 'suite_add_tcase' "$file" || say "$file: adds no case"
done
for file in test/fuzz/fuzz_*.c; do
    noun=${file#test/fuzz/fuzz_}; noun=${noun%.c}
    test -n "$(ls "test/data/corpus/$noun" 2>/dev/null)" || say "$file: no corpus test/data/corpus/$noun/"
    grep -q "test/fuzz/replay_$noun" Makefile.am || say "$file: not replayed by Makefile.am"
done
for dir in test/data/corpus/*/; do
    noun=$(basename "$dir")
    test -f "test/fuzz/fuzz_$noun.c" || say "$dir: no test/fuzz/fuzz_$noun.c"
done
for file in src/*/*.[ch] src/*.h mod_acmeclient/*.[ch] acmectl/*.[ch] test/unit/*.[ch]; do
    test -f "$file" || continue
    grep -qE "(^|[[:space:]])$file([[:space:]]|\$)" Makefile.am || say "$file: not in Makefile.am"
done
for file in test/check_*.sh; do
    grep -q "$file" Makefile.am || say "$file: not in Makefile.am"
done

# pytest finds test_*.py with functions test_*; a doubled name hides the first of the two.
for file in test/httpd/*.py; do
    case ${file##*/} in
    test_*.py)
        grep -qE '^(    )?def test_' "$file" || say "$file: no test"
        twice=$(sed -n 's/^def \(test_[A-Za-z0-9_]*\).*/\1/p' "$file" | sort | uniq -d)
        test -z "$twice" || say "$file: defined twice: $twice"
        ;;
    conftest.py) ;;
    *)
        if grep -qE '^def test_' "$file"; then say "$file: has tests, but pytest looks for test_*.py"; fi
        ;;
    esac
done
if grep -rnE '^def test_' test/httpd/lib test/demo 2>/dev/null; then say "tests in a place pytest does not look at"; fi
exit $rc
