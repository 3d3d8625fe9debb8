"""URLs of storages as people may read them: without what is secret in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote

HIDDEN = "***"
_SHORT = 3
# A password behind which the host is missing.
_HOST_MISSING = re.compile(r"://[^/?#@:\[\]]*:(?!\d+(?:[/?#]|$))([^/?#]+)")
# Options of drivers whose values nobody else should read; sslmode=require is none.
_SECRET_OPTION = re.compile(r"pass|pwd|secret|token|key|auth|cred", re.IGNORECASE)
# What a URL in a word of a command line may come after.
_BEFORE = "= \t\n\"'("


def url_in(word: str) -> str:
    """The URL in a word of a command line; empty where there is none.

    Examples
    --------
    >>> url_in("--storage=grpc://h:1"), url_in("problem.toml")
    ('grpc://h:1', '')
    """
    begin = word.find("://")
    if begin < 0 and (span := _credentials(word)):
        begin = span.start
    if begin < 0:
        return ""
    return word[max(word.rfind(character, 0, begin) for character in _BEFORE) + 1 :]


def shown(url: str) -> str:
    """A storage URL without what may be secret: credentials and options."""
    if span := _credentials(url):
        # An "@" or a "?" inside a password hides more, never less.
        url = f"{url[: span.start]}{HIDDEN}{url[span.stop :]}"
    elif match := _HOST_MISSING.search(url):
        url = url.replace(match[1], HIDDEN)
    if "://" not in url:
        return url
    address, question, _ = url.partition("?")
    return f"{address}?{HIDDEN}" if question else address


def hidden(text: str, url: str) -> str:
    """A text in which no secret of a storage URL is left, as it stands there or decoded.

    Passwords go wherever they stand, names of users only where they are named as such.
    """
    text = text.replace(url, shown(url)) if url else text
    for secret in sorted(filter(None, _secrets(url)), key=len, reverse=True):
        # A short one would be found inside other words.
        pattern = re.escape(secret) if len(secret) > _SHORT else rf"(?<!\w){re.escape(secret)}(?!\w)"
        text = re.sub(pattern, HIDDEN, text)
    for user in filter(None, _users(url)):
        name = re.escape(user)
        text = re.sub(rf"(?:(?<=user )|(?<=[\"'])){name}(?!\w)|(?<!\w){name}(?=@)", HIDDEN, text)
    return text


def _secrets(url: str) -> Iterator[str]:
    """Passwords of a URL, alone and with their user, and values of options that are secret."""
    if span := _credentials(url):
        whole = url[span]
        password = whole.partition(":")[2] if "://" in url else whole
        found = [whole, password] if password else []
        # Another URL may stand inside this one, as when it was pasted twice.
        found += {part.rpartition("@")[0].partition(":")[2] for part in url.split("://")[1:]}
    else:
        match = _HOST_MISSING.search(url)
        found = [match[1]] if match else []
    if "://" in url:
        options = parse_qsl(url.partition("?")[2])
        found += [value for name, value in options if _SECRET_OPTION.search(name)]
    for secret in found:
        yield from (secret, unquote(secret))


def _users(url: str) -> Iterator[str]:
    if "://" in url and (span := _credentials(url)):
        user = url[span].partition(":")[0]
        yield from (user, unquote(user))


def _credentials(url: str) -> slice | None:
    """Where credentials stand: before the last "@", behind "://" or, without that, the first ":"."""
    opening = "://" if "://" in url else ":"
    begin, end = url.find(opening), url.rfind("@")
    first = begin + len(opening)
    return slice(first, end) if begin >= 0 and first <= end else None
