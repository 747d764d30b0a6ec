# Licensed under the Apache License, Version 2.0; see LICENSE.
"""Other ACME clients, and what acmectl makes of what they leave behind.

    certbot(directory, ca, port, [(["a.test", "b.test"], "--key-type=rsa"), ...])   its configuration directory
    lego(directory, ca, port, "a.test")      its account's Account(key file, kid)
    mod_md(httpd, ca, sets)                  (store, kid); sets = [(names, lines of the section)]; httpd is stopped again
    acmectl(httpd_or_store, "import", ...)   -> CompletedProcess; its exit code is asserted unless code is None
    tree(directory)                          {path: (mode, bytes or link)}: to see that nothing was changed
    kid_of(entry)                            the account of a request in a Chaos' log
"""
import collections
import glob
import json
import os
import shutil
import subprocess

import pytest

from . import util
from .chaos import unb64
from .httpd import module_file

Account = collections.namedtuple("Account", "key kid")


def _run(command, env):
    done = subprocess.run(command, env=dict(os.environ, **env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL, universal_newlines=True, timeout=120)
    assert done.returncode == 0, done.stdout
    return done.stdout


def certbot(directory, ca, port, certificates):
    if not shutil.which("certbot"):
        pytest.skip("certbot is not installed")
    base = ["certonly", "--standalone", "--http-01-port", str(port), "--http-01-address", "127.0.0.1", "--server", ca.directory,
            "-n", "--agree-tos", "-m", "certbot@example.org", "--config-dir", directory + "/etc", "--work-dir",
            directory + "/work", "--logs-dir", directory + "/logs"]
    runs = [base + ["--domains=" + ",".join(names), *options] for names, *options in certificates]
    # The program itself, with one start of Python for all its runs, and less patient.
    script = ("import json, sys, time\nfrom certbot.main import main\nsleep = time.sleep\n"
              "time.sleep = lambda seconds: sleep(min(seconds, 0.1))\n"
              "for run in json.loads(sys.argv[1]):\n    assert not main(run), run\n")
    _run(["/usr/bin/python3", "-c", script, json.dumps(runs)], {"REQUESTS_CA_BUNDLE": ca.ca_file})
    return directory + "/etc"


def certbot_account(etc):
    key, = glob.glob(etc + "/accounts/*/*/*/private_key.json")
    with open(os.path.join(os.path.dirname(key), "regr.json")) as file:
        return Account(key, json.load(file)["uri"])


def lego(directory, ca, port, name):
    if not shutil.which("lego"):
        pytest.skip("lego is not installed")
    _run(["lego", "--server", ca.directory, "--email", "lego@example.org", "--accept-tos", "--path", directory, "-d", name,
          "--http", "--http.port", "127.0.0.1:%d" % port, "run"], {"LEGO_CA_CERTIFICATES": ca.ca_file})
    key, = glob.glob(directory + "/accounts/*/*/keys/*.key")
    with open(os.path.join(os.path.dirname(os.path.dirname(key)), "account.json")) as file:
        return Account(key, json.load(file)["registration"]["uri"])


def mod_md(httpd, ca, sets):
    if not os.path.exists("/usr/lib/apache2/modules/mod_md.so"):
        pytest.skip("mod_md is not installed")
    httpd.conf("MDStoreDir %s/md\nMDCertificateAuthority %s\nMDCACertificateFile %s\nMDCertificateAgreement accepted\n"
               "MDContactEmail md@example.org\nMDPortMap 80:%d 443:%d" % (
                   httpd.root, ca.directory, ca.ca_file, httpd.http_port, httpd.https_port))
    for names, lines in sets:
        httpd.conf("<MDomain %s>\n%s\n</MDomain>" % (" ".join(names), lines))
        httpd.vhost(names[0], aliases=names[1:], engine=False)
    httpd.start()
    httpd.wait_log("AH10059", timeout=40, count=len(sets))
    httpd.graceful()
    store = httpd.root + "/md"
    done = util.wait_for(lambda: len(glob.glob(store + "/domains/*/pubcert*.pem")) >= len(sets), 10)
    httpd.stop()
    assert done, util.tail(httpd.error_log)
    path, = glob.glob(store + "/accounts/*/account.json")
    with open(path) as file:
        return store, json.load(file)["url"]


def acmectl(store, *arguments, code=0):
    program = os.path.join(os.path.dirname(os.path.dirname(module_file())), "acmectl", "acmectl")
    done = subprocess.run([program, "--store", getattr(store, "store", store), *arguments], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True, timeout=60)
    assert code is None or done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert done.returncode >= 0, "acmectl died"
    return done


def tree(directory):
    found = {}
    for top, directories, files in os.walk(directory):
        for name in directories + files:
            path = os.path.join(top, name)
            stat = os.lstat(path)
            if os.path.islink(path):
                content = os.readlink(path)
            elif os.path.isdir(path):
                content = None
            else:
                with open(path, "rb") as file:
                    content = file.read()
            found[os.path.relpath(path, directory)] = (stat.st_mode, stat.st_uid, stat.st_mtime_ns, content)
    return found


def kid_of(entry):
    return json.loads(unb64(json.loads(entry.body)["protected"])).get("kid")
