"""URLs of storages as people may read them: without what is secret in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote

HIDDEN = "***"
_SHORT = 3
_CREDENTIALS = re.compile(r"://(.*)@", re.DOTALL)
# A password behind which the host is missing, and a URL that has lost its beginning.
_HOST_MISSING = re.compile(r"://[^/?#@:\[\]]*:(?!\d+(?:[/?#]|$))([^/?#]+)")
_SCHEME_MISSING = re.compile(r":(.+)@", re.DOTALL)
# Options of drivers whose values nobody else should read; sslmode=require is none.
_SECRET_OPTION = re.compile(r"pass|pwd|secret|token|key|auth|cred", re.IGNORECASE)
_URL = re.compile(r"[A-Za-z][\w+.-]*://.*|[^\s=]+:.+@.*", re.DOTALL)


def url_in(word: str) -> str:
    """The URL in a word of a command line; empty where there is none.

    Examples
    --------
    >>> url_in("--storage=grpc://h:1"), url_in("problem.toml")
    ('grpc://h:1', '')
    """
    found = _URL.search(word)
    return found[0] if found else ""


def shown(url: str) -> str:
    """A storage URL without what may be secret: credentials and options."""
    if "://" not in url:
        return _SCHEME_MISSING.sub(f":{HIDDEN}@", url)
    if not _CREDENTIALS.search(url) and (match := _HOST_MISSING.search(url)):
        url = url.replace(match[1], HIDDEN)
    # An "@" or a "?" inside a password hides more, never less.
    address, question, _ = _CREDENTIALS.sub(f"://{HIDDEN}@", url).partition("?")
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
    if match := _CREDENTIALS.search(url):
        whole, password = match[1], match[1].partition(":")[2]
        found = [whole, password] if password else []
    else:
        match = (_HOST_MISSING if "://" in url else _SCHEME_MISSING).search(url)
        found = [match[1]] if match else []
    if "://" in url:
        options = parse_qsl(url.partition("?")[2])
        found += [value for name, value in options if _SECRET_OPTION.search(name)]
    for secret in found:
        yield from (secret, unquote(secret))


def _users(url: str) -> Iterator[str]:
    if match := _CREDENTIALS.search(url):
        user = match[1].partition(":")[0]
        yield from (user, unquote(user))
