# Licensed under the Apache License, Version 2.0; see LICENSE.
"""A network of one's own, for servers that insist on ports 80, 443 or 53 and on names of the system's resolver.

    with Namespace(hosts={"a.test": "127.0.0.1"}, files={"/etc/resolv.conf": "nameserver 127.0.0.1\\n"}):
        ...                        everything this thread does and starts lives in it

As root, with CAP_SYS_ADMIN; available() tells. Threads that were started before stay outside.
"""
import ctypes
import os
import subprocess
import tempfile

CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)


def _must(result, what):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, "%s: %s" % (what, os.strerror(number)))


def available():
    """May this process have a network of its own? Asked of a child."""
    return subprocess.run(["unshare", "--net", "--mount", "ip", "link", "set", "lo", "up"], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode == 0


class Namespace:
    def __init__(self, hosts=None, files=None):
        self.files = dict(files or {})
        lines = ["127.0.0.1 localhost", "::1 localhost"]
        lines += ["%s %s" % (address, name) for name, addresses in (hosts or {}).items()
                  for address in ([addresses] if isinstance(addresses, str) else addresses)]
        self.files["/etc/hosts"] = "\n".join(lines + [""])
        self._former, self._made = [], []

    def __enter__(self):
        self._former = [(os.open("/proc/thread-self/ns/" + name, os.O_RDONLY), kind)
                        for name, kind in (("net", CLONE_NEWNET), ("mnt", CLONE_NEWNS))]
        self._here, self._root = os.getcwd(), os.open("/", os.O_RDONLY)
        _must(_libc.unshare(CLONE_NEWNET | CLONE_NEWNS), "unshare")
        _must(_libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "mount --make-rprivate /")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        for path, text in self.files.items():
            with tempfile.NamedTemporaryFile("w", delete=False) as file:
                file.write(text)
            os.chmod(file.name, 0o644)
            self._made.append(file.name)
            _must(_libc.mount(file.name.encode(), os.path.realpath(path).encode(), None, MS_BIND, None), path)
        return self

    def __exit__(self, *failure):
        for descriptor, kind in self._former:
            _must(_libc.setns(descriptor, kind), "setns")
            os.close(descriptor)
        # The root is the former namespace's now, which is not ours in a chroot.
        os.fchdir(self._root)
        os.chroot(".")
        os.close(self._root)
        os.chdir(self._here)
        for path in self._made:
            os.unlink(path)
