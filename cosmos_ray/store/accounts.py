"""Whose stores a URI leads to: accounts and hosts that it names itself, against those of this process's environment.

Credentials come from the environment, and clients send them wherever a URI says: an Azure URI may name an account. So
what strangers wrote (rows, sidecars) may name only accounts that the environment names too, or the user. Of S3 and
Google's store a URI names a bucket and nothing else; the endpoint is the environment's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

import fsspec

AZURE = frozenset({"az", "abfs", "abfss"})
_ACCOUNT = r"[a-z0-9](?:[a-z0-9-]{1,30}[a-z0-9])?"
_AZURE_HOST = re.compile(rf"({_ACCOUNT})\.(?:blob|dfs)\.core\.windows\.net")
_CONTAINER = re.compile(r"[$A-Za-z0-9](?:[A-Za-z0-9-]{0,62})")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_ARN = re.compile(r"arn:[\w:.-]+")
_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)(.*)", re.DOTALL)
#: Options behind a `?`. Names of objects may have one in them, and a version of an object is a part of its name.
_OPTIONS = re.compile(r"\?[\w.~%-]+=|\?.*&", re.DOTALL)
_VERSION = re.compile(r"[^?]*\?version_?id=[\w.:-]+", re.IGNORECASE)


def tells_secrets(uri: str) -> str | None:
    """What is wrong with a store's URI that says more than where something lies: user, password, options, a signature.
    Completes "expected a URI that may be read, not …"."""
    found = _PARTS.fullmatch(uri)
    if found is None:
        return None
    scheme, authority, rest = found.group(1).lower(), found.group(2), found.group(3)
    if _OPTIONS.search(authority + rest) and not _VERSION.fullmatch(rest):
        return "one with options or a signature after a '?' (they come from the environment)"
    user, at, _ = authority.rpartition("@")
    if (at and (scheme not in AZURE or ":" in user)) or (":" in authority and not _ARN.fullmatch(authority)):
        return "one with user or password in it (they come from the environment)"
    return None


def wrong_form(uri: str) -> str | None:
    """`tells_secrets`, and what else is wrong with a store's URI that a stranger wrote: it names a bucket, or a
    container, with its account or without."""
    found = _PARTS.fullmatch(uri)
    if found is None or (wrong := tells_secrets(uri)):
        return None if found is None else wrong
    scheme, authority = found.group(1).lower(), found.group(2)
    if scheme not in AZURE:
        return None if _BUCKET.fullmatch(authority) else "one with anything but a bucket's name before the path"
    container, at, host = authority.rpartition("@")
    if at and not _known_host(host):
        return f"one of host {host}, which is no account of Azure's (ACCOUNT.dfs.core.windows.net)"
    if not _CONTAINER.fullmatch(container if at else host) and not (not at and _known_host(host)):
        return "one without a container's name"
    return None


def check_connection(uri: str) -> None:
    """Raises ValueError if `uri` names another account than Azure's connection string, which clients would take."""
    account = account_of(uri)
    if account is not None and _connection() is not None and account not in own_accounts() | _own_hosts():
        raise ValueError(f"its account is {account}, and AZURE_STORAGE_CONNECTION_STRING is another account's")


def account_of(uri: str) -> str | None:
    """The account that an Azure URI names; None if it names none."""
    found = _PARTS.fullmatch(uri)
    if found is None or found.group(1).lower() not in AZURE:
        return None
    host = found.group(2).rpartition("@")[2].lower()
    known = _AZURE_HOST.fullmatch(host)
    return known.group(1) if known else host if host in _own_hosts() else None


def in_one_form(uri: str) -> str:
    """An Azure URI with its account only where that is not the environment's: `az://CONTAINER/PATH`, or
    `az://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH`."""
    found = _PARTS.fullmatch(uri)
    if found is None or is_whole_account(uri):
        return uri
    container, at, host = found.group(2).rpartition("@")
    path = found.group(3)
    if not at and _known_host(host):
        container, _, key = path.lstrip("/").partition("/")
        path = f"/{key}" if key else ""
    account = account_of(uri)
    if account is None:
        return f"az://{found.group(2)}{path}"
    return f"az://{container}{path}" if _is_own(account) else f"az://{container}@{account}.dfs.core.windows.net{path}"


def is_whole_account(uri: str) -> bool:
    """Whether an Azure URI names an account, and no container of it."""
    found = _PARTS.fullmatch(uri)
    return (
        found is not None
        and account_of(uri) is not None
        and "@" not in found.group(2)
        and not found.group(3).strip("/")
    )


def are_of_one_account(uri: str, other: str) -> bool:
    """Of Azure's URIs: one that names no account is of the environment's."""
    if not all(_scheme(one) in AZURE for one in (uri, other)):
        return False
    accounts = (account_of(uri), account_of(other))
    return accounts[0] == accounts[1] or all(one is None or _is_own(one) for one in accounts)


def _is_own(account: str) -> bool:
    return account in _own_hosts() or {account} == own_accounts()


def _scheme(uri: str) -> str:
    return uri.partition("://")[0].lower()


def foreign_account(uri: str, own: Iterable[str] = ()) -> str | None:
    """The account that `uri` names, if neither the environment nor one of the URIs `own` does."""
    account = account_of(uri)
    if account is None or account in own_accounts() or account in _own_hosts():
        return None
    # A connection string is one account's, whatever a URI says: then nobody can name another.
    if _connection() is None and account in {account_of(one) for one in own}:
        return None
    return account


def own_accounts() -> frozenset[str]:
    """Azure accounts of the environment, and of fsspec's own settings. A connection string leaves no other."""
    if (connection := _connection()) is not None:
        return frozenset({connection.get("accountname", "").lower()} - {""})
    named = {os.environ.get("AZURE_STORAGE_ACCOUNT_NAME"), *_configured("account_name")}
    return frozenset(name.lower() for name in named if name)


def _own_hosts() -> frozenset[str]:
    hosts = {name for name in _configured("account_host") if name}
    if (connection := _connection()) is not None and "blobendpoint" in connection:
        hosts = {urlsplit(connection["blobendpoint"]).hostname or ""} - {""}
    return frozenset(host.lower() for host in hosts)


def _known_host(host: str) -> bool:
    return bool(_AZURE_HOST.fullmatch(host.lower())) or host.lower() in _own_hosts()


def _connection() -> dict[str, str] | None:
    """The parts of Azure's connection string, by names in small letters; None if there is none."""
    text = next(iter(_configured("connection_string")), None) or os.environ.get("AZURE_STORAGE_CONNECTION_STRING")
    if not text:
        return None
    parts = (part.partition("=") for part in text.split(";") if "=" in part)
    return {name.strip().lower(): value.strip() for name, _, value in parts}


def _configured(option: str) -> list[str]:
    """As fsspec's configuration (a file, or FSSPEC_ABFS_...) has it."""
    of = [fsspec.config.conf.get(scheme, {}) for scheme in sorted(AZURE)]
    return [str(one[option]) for one in of if isinstance(one, dict) and one.get(option)]
