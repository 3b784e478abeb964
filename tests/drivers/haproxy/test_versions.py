"""What HAProxy 3.0 (Debian 13) says otherwise than 2.6 (Debian 12), and what both are read as. Lines as the programs wrote them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gureum.drivers.haproxy.logs import is_tls_failure, parse, reading
from gureum.drivers.haproxy.process import ProxyFolder
from gureum.ports.proxies import Forward, Group, Listener, ProxySpec, Record, Request, Rule, record_of

LISTENER = Listener(80, "HTTP", "arn:80", (Rule(0, Forward((("tg-a", 1),))),))
KNOWN = reading(ProxySpec("node-1", "/x", "10.9.0.10", "app/lb/1", (LISTENER,), (Group("tg-a", "arn:a", "HTTP"),)))
NO_REQUEST = "E\t1795932810000000\t10.9.0.1\t4000\tl-80\t{error}\t{status}\t200"
REQUEST = (
    "H l-80 tg-a {status} 0 1 -1 -\t10.9.0.1:4000\t80\t0\t1795932810000000\t1\t1-6b0bc28a-aa\tGET /x HTTP/1.1\t{{curl|a.example.com}}"
    "\t10.0.0.5:80\t10.0.0.5:80\t0\t-\t-\t-\t-"
)


def read(line: str) -> Record | None:
    found = parse(line.encode(), KNOWN)
    return record_of(found) if isinstance(found, Request) else found


@pytest.mark.parametrize(
    ("error", "counts"), [(0, False), (34, True), (24, True), (43, True), (47, False), (56, False)]
)
def test_only_a_handshake_that_failed_counts_as_one(error: int, counts: bool) -> None:
    """A client that goes after its handshake has a socket's error in 3.0 (56: EPIPE)."""
    assert is_tls_failure(NO_REQUEST.format(error=error, status=0).encode()) is counts


def test_what_was_no_request_is_recorded_though_its_client_has_gone() -> None:
    record = read(NO_REQUEST.format(error=56, status=400))
    assert record is not None
    assert record.elb_status == 400
    assert read(NO_REQUEST.format(error=56, status=0)) is None
    failed = read(NO_REQUEST.format(error=34, status=400))
    assert failed is not None
    assert (failed.kind, failed.elb_status, failed.error) == ("tls", 0, "UnmappedConnectionError")


@pytest.mark.parametrize("said", ["502 KH", "500 KC"])
def test_a_request_that_is_cut_off_at_the_end_of_its_groups_delay_is_a_502(said: str) -> None:
    record = read(REQUEST.format(status=said))
    assert record is not None
    assert (record.elb_status, record.target_status) == (502, 0)


OLD_SAID = """\
[NOTICE]   (7) : haproxy version is 2.6.12
[ALERT]    (7) : config : parsing [haproxy.cfg:5] : 'bind 10.9.0.10:443' : no certificate in 'c-0.pem'.
[ALERT]    (7) : config : Error(s) found in configuration file : haproxy.cfg
[ALERT]    (7) : config : Fatal errors found in configuration.
"""
NEW_SAID = """\
[ALERT]    (7) : config : parsing [haproxy.cfg:5] : 'bind 10.9.0.10:443' :
  no certificate in 'c-0.pem'.
[ALERT]    (7) : config : Error(s) found in configuration file : haproxy.cfg
"""
WORDS = "config : parsing [haproxy.cfg:5] : 'bind 10.9.0.10:443' : no certificate in 'c-0.pem'.; "
WORDS += "config : Error(s) found in configuration file : haproxy.cfg"


@pytest.mark.parametrize(
    ("said", "words"), [(OLD_SAID, WORDS), (NEW_SAID, WORDS), ("prlimit: failed\n", "prlimit: failed"), ("", "")]
)
def test_what_it_complains_of_is_told_with_the_lines_it_goes_on_in(tmp_path: Path, said: str, words: str) -> None:
    folder = ProxyFolder("ab12", tmp_path, "node-1")
    folder.path.mkdir(parents=True)
    (folder.path / "said").write_text(said)
    assert folder.words() == words
