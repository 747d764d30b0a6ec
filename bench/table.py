#!/usr/bin/python3
# Licensed under the Apache License, Version 2.0; see LICENSE.
"""Tables of the results: medians, and ratios to a reference.

    table.py [DIRECTORY]        default: ./bench-results

A ratio is the median of the ratios of each round (of neighbours in time), not the ratio of the medians. The reference is ssl
(plain mod_ssl), or md where plain mod_ssl has nothing to show.
"""
import json
import os
import statistics
import sys

# bench: (what makes a case, (field, heading, decimals)...); the first heading is what it is about.
TABLES = {
    "latency": ("One certificate or more, from the start of httpd to live", [
        "case", "challenge", "n", "key", "retry_after"], [
        ("live_s", "start to live, s", 3), ("ready_s", "first answer, s", 3),
        ("requests_per_certificate", "requests per certificate", 1), ("cpu_s", "httpd CPU, s", 2)]),
    "swap": ("A swap under load: connections in the 3 s around it, and in the 3 s before", ["n", "rate"], [
        ("before_p99_ms", "p99 before, ms", 1), ("around_p99_ms", "p99 around, ms", 1),
        ("around_over_before", "p99 around / before", 2), ("around_max_ms", "slowest, ms", 1),
        ("over_50ms", "over 50 ms", 0), ("over_200ms", "over 200 ms", 0), ("failed", "failed", 0),
        ("to_first_new_s", "to the first new, s", 3)]),
    "handshake": ("Server CPU of a full TLS handshake", ["state", "n", "key", "tls"], [
        ("cpu_us", "CPU, µs", 1), ("per_s", "handshakes per s", 0), ("p50_ms", "p50, ms", 2), ("p99_ms", "p99, ms", 1),
        ("failed", "failed", 0)]),
    "instructions": ("Instructions of a full TLS handshake with one request", ["state"], [
        ("instructions", "instructions", 0)]),
    "restart": ("Start and graceful restart", ["case", "n", "key"], [
        ("first_start_s", "first start, s", 3), ("later_start_s", "later start, s", 3), ("graceful_s", "graceful, s", 3),
        ("stop_s", "stop, s", 3), ("parent_rss_kib", "parent RSS, KiB", 0), ("child_rss_kib", "child RSS, KiB", 0),
        ("total_pss_kib", "PSS of all, KiB", 0)]),
}
SPREAD = {"handshake": [("cpu_us", "CPU")],
          "restart": [("graceful_s", "graceful restart"), ("later_start_s", "later start")]}
SUMMED = {"failed", "over_50ms", "over_200ms"}  # over all rounds; no ratio
LOOSE = {"state", "case"}  # the reference may lack them: plain mod_ssl has one state only


def read(path):
    with open(path) as file:
        return [json.loads(line) for line in file if line.strip()]


def case_of(row, keys):
    return tuple(row.get(key) for key in keys)


def turn(row):
    return row.get("run"), row.get("round"), row.get("swap")


def groups(rows, keys):
    """{(subject, case): [rows]} in the order of their first row."""
    found = {}
    for row in rows:
        if row.get("before_p99_ms") and row.get("around_p99_ms"):
            row["around_over_before"] = row["around_p99_ms"] / row["before_p99_ms"]
        found.setdefault((row["subject"], case_of(row, keys)), []).append(row)
    return found


def reference(found, keys, subject, case):
    """The rows to compare with: same case, or the reference's only one when it cannot have this one."""
    for name in ("ssl", "md"):
        if subject in (name, "floor"):
            return None
        if (name, case) in found:
            return found[name, case]
        tight = [i for i, key in enumerate(keys) if key not in LOOSE]
        near = [c for s, c in found if s == name and all(c[i] == case[i] for i in tight)]
        if len(near) == 1 and name == "ssl":
            return found[name, near[0]]
    return None


def value(rows, field):
    values = [row[field] for row in rows if row.get(field) is not None]
    if not values:
        return None
    return sum(values) if field in SUMMED else statistics.median(values)


def ratios(rows, others, field):
    """Of each round."""
    theirs = {turn(row): row.get(field) for row in others or []}
    return [row[field] / theirs[turn(row)] for row in rows if row.get(field) is not None and theirs.get(turn(row))]


def ratio(rows, others, field):
    found = [] if field in SUMMED or field == "around_over_before" else ratios(rows, others, field)
    return statistics.median(found) if found else None


def text(number, decimals):
    return "–" if number is None else "%.*f" % (decimals, number)


def line(cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


def table(bench, rows):
    title, keys, figures = TABLES[bench]
    found = groups(rows, keys)
    print("\n## %s\n" % title)
    line(["subject"] + keys + ["samples"] + [heading for _, heading, _ in figures])
    line(["---"] * (len(keys) + len(figures) + 2))
    for (subject, case), mine in found.items():
        others = reference(found, keys, subject, case)
        cells = []
        for field, _, decimals in figures:
            compared = ratio(mine, others, field)
            cells.append(text(value(mine, field), decimals) + ("" if compared is None else " (×%.3f)" % compared))
        line([subject, *("" if c is None else c for c in case), len(mine), *cells])
    print()
    for (subject, case), mine in found.items():
        others = reference(found, keys, subject, case)
        for field, heading in SPREAD.get(bench, []):
            spread("%s %s: %s" % (subject, " ".join(str(c) for c in case), heading), ratios(mine, others, field))
    if bench == "restart":
        missing(found, keys)
    for (subject, case), mine in found.items():
        floor = found.get(("floor", case)) if subject != "floor" else None
        if floor:
            print("- %s %s: start to live ×%.1f of the floor's" % (subject, " ".join(str(c) for c in case),
                                                                  ratio(mine, floor, "live_s")))


def spread(what, values):
    if len(values) >= 4:
        low, middle, high = statistics.quantiles(values, n=4)
        print("- %s: ratio %.3f, quartiles %.3f to %.3f, %d pairs" % (what, middle, low, high, len(values)))


def missing(found, keys):
    """What the placeholders cost: first start without certificates less first start with them."""
    for (subject, case), rows in found.items():
        named = dict(zip(keys, case))
        present = {turn(row): row for row in found.get((subject, case_of(dict(named, case="present"), keys)), [])}
        less = [row["first_start_s"] - present[turn(row)]["first_start_s"] for row in rows if turn(row) in present]
        if named["case"] == "missing" and less:
            seconds, n = statistics.median(less), max(1, named["n"])
            print("- %s, %d certificates: first start with all missing less first start with all present: %.3f s "
                  "(%.2f ms each)" % (subject, named["n"], seconds, seconds / n * 1000))


def main():
    directory = sys.argv[1] if len(sys.argv) > 1 else "bench-results"
    seen = 0
    for bench in TABLES:
        path = os.path.join(directory, bench + ".jsonl")
        if os.path.exists(path):
            table(bench, read(path))
            seen += 1
    if not seen:
        sys.exit("no results in %s" % directory)


if __name__ == "__main__":
    main()
