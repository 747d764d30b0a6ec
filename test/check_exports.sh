#!/bin/sh
# Licensed under the Apache License, Version 2.0; see LICENSE.
# The module exports acmeclient_module and nothing else, and its relocations are read-only before httpd runs.
# Usage: check_exports.sh [MODULE]
LC_ALL=C; export LC_ALL
module=${1:-.libs/mod_acmeclient.so}
test -f "$module" || { echo "$module: not built"; exit 1; }
found=$(nm -D --defined-only "$module" | awk '{ print $3 }' | sed 's/@.*//' | grep -vE '^(_init|_fini|_edata|_end|__bss_start|__asan_.*|___asan_.*|__odr_asan.*|__sanitizer_.*|__start_.*|__stop_.*)$')
test "$found" = acmeclient_module || { echo "$module exports:" $found; exit 1; }
dynamic=$(readelf -dlW "$module")
echo "$dynamic" | grep -q GNU_RELRO || { echo "$module: no RELRO"; exit 1; }
echo "$dynamic" | grep -qE 'BIND_NOW|NOW' || { echo "$module: not bound at start"; exit 1; }
if echo "$dynamic" | grep -qE 'RPATH|RUNPATH|TEXTREL'; then echo "$module: RPATH or TEXTREL"; exit 1; fi
