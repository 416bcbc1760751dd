"""Ids and key hashes, all computed and none random, so repeats are the same (`contract.md` 5)."""

from __future__ import annotations

from hashlib import sha1
from struct import unpack_from
from typing import Final
from uuid import UUID

NAMESPACE: Final = UUID("6f1c1f0e-2d0b-5c57-9a3e-75707270a001")
"""The name space of saga ids. Part of the contract: partners may compute the id themselves."""


SagaId = str
"""A saga's id: a UUID of version 5 as text in lower case.

It is no `UUID`, as those are hashed and compared in Python, which happens a dozen times per record.
"""


def saga_id(origin: str, account: str, request_id: str, kind: str = "") -> SagaId:
    """The id of the saga of a request: the uuid5 of its origin, account and request id.

    These are printable ASCII, so a line feed can separate them. The name of the kind of saga comes
    last; for a redemption it is empty, and left out with its line feed.
    """
    # The same as uuid.uuid5, but faster, since it runs for every record.
    name = f"{origin}\n{account}\n{request_id}"
    if kind:
        name += f"\n{kind}"
    text = sha1(_NAMESPACE + name.encode(), usedforsecurity=False).hexdigest()
    variant = _VARIANT[text[16]]
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}"


_NAMESPACE: Final = NAMESPACE.bytes
_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


_ID_CHARS: Final = 36


def split_leg_id(leg_id: str) -> tuple[SagaId, str]:
    """The two parts of a leg id, `<saga id>/<path>`: the id of the saga, and the path of the leg.

    Nothing is checked: the text of an id that is too short is all in the first part, and the path
    is empty.
    """
    return leg_id[:_ID_CHARS], leg_id[_ID_CHARS + 1 :]


def partition_key(origin: str, account: str) -> str:
    """The record key that all records of an account carry."""
    return f"{origin}/{account}"


def command_event_id(leg_id: str, verb: str, attempt: int) -> str:
    """The `ce_id` of a command: `<leg id>#<attempt>`, or `<leg id>#<verb><attempt>`.

    The verb is "do" for the command of the leg itself, else "inquire" or "cancel"; each of them
    counts its own attempts.
    """
    return f"{leg_id}#{attempt}" if verb == "do" else f"{leg_id}#{verb}{attempt}"


def result_event_id(saga: SagaId, revision: int) -> str:
    """The `ce_id` of a result: `<saga id>#r<revision>`."""
    return f"{saga}#r{revision}"


KEY_BUCKETS: Final = 4_096
"""The number of buckets; the number of partitions of a topic is a power of two that divides it."""

_MASK: Final = 0xFFFFFFFF
_MIX: Final = 0x5BD1E995


def murmur2(key: bytes) -> int:
    """Kafka's hash of a record key, without its sign: 31 bits."""
    length = len(key)
    value = (0x9747B28C ^ length) & _MASK
    whole = length & ~3
    for word in unpack_from(f"<{whole >> 2}I", key):
        mixed = (word * _MIX) & _MASK
        mixed ^= mixed >> 24
        value = ((value * _MIX) & _MASK) ^ ((mixed * _MIX) & _MASK)
    if tail := key[whole:]:
        value = ((value ^ int.from_bytes(tail, "little")) * _MIX) & _MASK
    value ^= value >> 13
    value = (value * _MIX) & _MASK
    value ^= value >> 15
    return value & 0x7FFFFFFF


_REMEMBERED_MAX: Final = 16_384
_remembered: dict[bytes, int] = {}


def key_hash(key: bytes) -> int:
    """The bucket of a key, 0 to 4,095. Its partition is `key_hash % partitions` (`design.md` 9).

    Cached, since every record of an account asks for the same.
    """
    known = _remembered.get(key)
    if known is None:
        known = murmur2(key) % KEY_BUCKETS
        remember(key, known)
    return known


def remember(key: bytes, bucket: int) -> None:
    """Add to the cache the bucket of a key that the caller knows from a row."""
    if len(_remembered) >= _REMEMBERED_MAX:
        _remembered.clear()
    _remembered[key] = bucket


def partition_of(key: bytes, count: int) -> int:
    """The partition of a key in a topic with `count` of them, by Kafka's default partitioner."""
    return (murmur2(key) if KEY_BUCKETS % count else key_hash(key)) % count


def bucket(origin: str, account: str) -> int:
    """The key hash of an account, 0 to 4,095."""
    return key_hash(partition_key(origin, account).encode())


def saga_key(origin: str, account: str, request_id: str, kind: str = "") -> tuple[int, SagaId]:
    """The bucket and the id of the saga of a request, of that kind."""
    return bucket(origin, account), saga_id(origin, account, request_id, kind)
