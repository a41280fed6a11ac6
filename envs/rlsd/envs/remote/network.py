"""How an address is reached: through which proxy, and with which certificates, as environment variables say."""

from __future__ import annotations

import functools
import ipaddress
import os
import ssl
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from rlsd.envs.errors import EnvError

CA_FILES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables that name a file of trusted certificates; the first that is set counts."""
CA_FOLDER = "SSL_CERT_DIR"


def is_local(host: str) -> bool:
    """Whether `host` is this machine by a name or address that no proxy can reach.

    >>> is_local("localhost"), is_local("127.0.0.5"), is_local("::1"), is_local("example.org")
    (True, True, True, False)
    """
    bare = host.strip("[]").rstrip(".").lower()
    if bare == "localhost" or bare.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def proxy_for(url: str) -> str | None:
    """The proxy for `url` by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY (or lower case); None for this machine.

    Raises:
        EnvError: a proxy that does not speak HTTP.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxies = getproxies_environment()
    if is_local(host) or proxy_bypass_environment(parts.netloc.rpartition("@")[2], proxies):
        return None
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy:
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    if not proxy.startswith(("http://", "https://")):
        raise EnvError(
            f"the proxy for {host} is a {proxy.partition(':')[0]} proxy, only http and https ones can be used: change "
            f"{parts.scheme.upper()}_PROXY, or add {host} to NO_PROXY"
        )
    return proxy


def certificates() -> ssl.SSLContext:
    """The trusted certificates: of SSL_CERT_FILE, SSL_CERT_DIR, REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE, else certifi's.

    Raises:
        EnvError: they cannot be read; names the variable.
    """
    name = next((n for n in (CA_FILES[0], CA_FOLDER, *CA_FILES[1:]) if os.environ.get(n)), None)
    return _trusted(name, os.environ[name] if name else "")


@functools.lru_cache(maxsize=8)
def _trusted(name: str | None, path: str) -> ssl.SSLContext:
    if name is None:
        import certifi

        return ssl.create_default_context(cafile=certifi.where())
    if not os.path.exists(path):
        raise EnvError(f"{name} is {path!r}, which does not exist: name the trusted certificates, or unset it")
    try:
        is_folder = os.path.isdir(path)
        return ssl.create_default_context(cafile=None if is_folder else path, capath=path if is_folder else None)
    except (OSError, ssl.SSLError) as error:
        raise EnvError(f"{name} is {path!r}, which holds no certificates ({error}): fix or unset it") from error
