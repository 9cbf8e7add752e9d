"""Settings of services that are reached another way: through a proxy, or a server of a test alone."""

from __future__ import annotations

from urllib.parse import urlsplit

from tidemark.core.settings import Settings

_POSTGRES = ("url", "owner_url", "writer_url", "ledger_url", "ops_url")
_REDIS = ("url", "meter_url")


def port_of(url: str) -> int:
    """Port of an address, with a scheme or without."""
    port = urlsplit(url if "://" in url else f"//{url}").port
    assert port is not None
    return port


def postgres_by(settings: Settings, port: int) -> dict[str, str]:
    """Settings of every login that reaches Postgres by another port."""
    return _by(settings, "postgres", _POSTGRES, port)


def redis_by(settings: Settings, port: int) -> dict[str, str]:
    """Settings of every user that reaches Redis by another port."""
    return _by(settings, "redis", _REDIS, port)


def redis_as(settings: Settings, user: str) -> str:
    """Address of the stack's Redis for one of its users, with the password."""
    assert settings.redis.password_file is not None
    password = settings.redis.password_file.with_name(f"redis-{user}").read_text().strip()
    return f"redis://{user}:{password}@{settings.redis.url.rpartition('@')[2]}"


def redis_at(url: str) -> dict[str, str | None]:
    """Settings of a Redis without users."""
    return {"redis.url": url, "redis.password_file": None, "redis.meter_url": None, "redis.meter_password_file": None}


def _by(settings: Settings, section: str, names: tuple[str, ...], port: int) -> dict[str, str]:
    urls = {name: getattr(getattr(settings, section), name) for name in names}
    return {f"{section}.{name}": url.replace(f":{port_of(url)}/", f":{port}/") for name, url in urls.items() if url}
