"""Names of images, by the table of the distribution's reference grammar."""

from __future__ import annotations

import pytest

from gureum.docker.errors import DockerError
from gureum.docker.images.references import familiar, parse, path_pattern

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "full", "shown"),
    [
        ("nginx", "docker.io/library/nginx:latest", "nginx:latest"),
        ("nginx:1.27.3-alpine", "docker.io/library/nginx:1.27.3-alpine", "nginx:1.27.3-alpine"),
        ("me/web", "docker.io/me/web:latest", "me/web:latest"),
        ("docker.io/library/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
        ("localhost:5000/web", "localhost:5000/web:latest", "localhost:5000/web:latest"),
        ("127.0.0.1:5000/a/b:1", "127.0.0.1:5000/a/b:1", "127.0.0.1:5000/a/b:1"),
        (f"web@{DIGEST}", f"docker.io/library/web@{DIGEST}", f"web@{DIGEST}"),
    ],
)
def test_names_in_full_and_as_people_write_them(text: str, full: str, shown: str) -> None:
    found = parse(text)
    assert (found.full, found.familiar, familiar(full)) == (full, shown, shown)


@pytest.mark.parametrize(
    "text", ["", "Upper", "a//b", "a:", "-a", "a:b c", "a@sha256:12", "../a", "a/../b", f"a@{DIGEST}0"]
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(DockerError, match="invalid reference format") as refused:
        parse(text)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("nginx", ["nginx"], ["nginx2", "user/nginx"]),
        ("n*x", ["nginx", "nx"], ["nginy", "n/x"]),
        ("*/web:1*", ["user/web:1", "user/web:1.2"], ["web:1", "a/b/web:1"]),
        ("a*b*c", ["abc", "axbxbc"], ["abcx"]),
        ("v[0-9].?", ["v1.2"], ["vx.2", "v1.22"]),
        ("v[^0-9]", ["vx"], ["v1", "v/"]),
        (r"\*", ["*"], ["x"]),
        ("[[]", ["["], ["]"]),
    ],
)
def test_patterns_of_references(pattern: str, fitting: list[str], others: list[str]) -> None:
    fits = path_pattern(pattern)
    assert [one for one in [*fitting, *others] if fits(one)] == fitting


def test_a_pattern_of_many_stars_is_soon_done() -> None:
    assert not path_pattern("a*" * 60 + "b")("a" * 250)


@pytest.mark.parametrize("pattern", ["[", "a[", "[a", "\\", "[z-a]"])
def test_a_pattern_that_is_none_is_refused(pattern: str) -> None:
    with pytest.raises(DockerError, match="syntax error in pattern"):
        path_pattern(pattern)
