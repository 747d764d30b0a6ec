#!/bin/sh
# Licensed under the Apache License, Version 2.0; see LICENSE.
# No function is longer than 80 lines, from its name to its closing brace; the body's braces stand in column 1.
# Usage: check_functions.sh [SOURCE TREE]
LC_ALL=C; export LC_ALL
cd "${1:-${srcdir:-.}}" || exit 2
files=$(find src mod_acmeclient acmectl test bench -name '*.[ch]' 2>/dev/null)
test -n "$files" || { echo "no C files here"; exit 2; }
awk '
FNR == 1     { start = 0; head = "" }
/^[A-Za-z_]/ && /\(/ && !/;[ \t]*$/ && !start { name = FNR; head = $0 }
/^\{/        { if (head != "") start = name; else start = 0 }
/^\}/ {
    if (start && FNR - start + 1 > 80) {
        printf "%s:%d: %d lines: %s\n", FILENAME, start, FNR - start + 1, head
        bad = 1
    }
    if (start) seen++
    start = 0; head = ""
}
END { if (!seen) { print "no function found"; exit 2 } exit bad }
' $files
