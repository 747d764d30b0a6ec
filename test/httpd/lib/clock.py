# Licensed under the Apache License, Version 2.0; see LICENSE.
"""The time of day of one httpd, moved while it runs (libfaketime; its monotonic clock stays real).

    clock = Clock(directory)            skips the test where libfaketime is not installed
    httpd = make_httpd(env=clock.env)
    clock.forward(3600)                 one hour later, in all its processes at once
    clock.set(when)                     seconds since the epoch
    clock.now()                         what that httpd takes for now
"""
import glob
import os
import time

import pytest


def library():
    found = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1") + glob.glob("/usr/lib/faketime/libfaketimeMT.so.1")
    return found[0] if found else None


class Clock:
    def __init__(self, directory):
        if not library():
            pytest.skip("libfaketime is not installed (package faketime)")
        if os.environ.get("ACMECLIENT_PRELOAD"):
            pytest.skip("libfaketime and a sanitizer's runtime keep a program from starting")
        self.file = os.path.join(str(directory), "clock")
        self.offset = 0.0
        self._write()
        self.env = {"LD_PRELOAD": library(), "FAKETIME_TIMESTAMP_FILE": self.file, "FAKETIME_NO_CACHE": "1",
                    "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}

    def _write(self):
        # Renamed into place: a reader never sees half of it.
        with open(self.file + ".new", "w") as file:
            file.write("%+.3f\n" % self.offset)
        os.chmod(self.file + ".new", 0o644)
        os.rename(self.file + ".new", self.file)

    def now(self):
        return time.time() + self.offset

    def forward(self, seconds):
        self.offset += seconds
        self._write()

    def set(self, when):
        self.offset = when - time.time()
        self._write()
