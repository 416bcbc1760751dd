"""Ids are computed, never drawn, so that a restart draws the same (`contract.md` 5)."""

from __future__ import annotations

from hashlib import sha1
from struct import unpack_from
from typing import Final
from uuid import UUID

NAMESPACE: Final = UUID("6f1c1f0e-2d0b-5c57-9a3e-75707270a001")
"""The name space of saga ids. Part of the contract: partners may compute the id themselves."""


SagaId = str
"""A saga's id: a UUID of version 5 as text in lower case. A `UUID` would be hashed and compared in
Python, a dozen times for every record."""


def saga_id(origin: str, account: str, request_id: str) -> SagaId:
    """The id of the one saga that a request can become: uuid5 of who asks, for whom, which id.

    The three are printable ASCII, so a line feed cannot occur in them and separates them safely.
    """
    # The same as uuid.uuid5, without its copies: this runs once for every record.
    name = f"{origin}\n{account}\n{request_id}".encode()
    text = sha1(_NAMESPACE + name, usedforsecurity=False).hexdigest()
    variant = _VARIANT[text[16]]
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}"


_NAMESPACE: Final = NAMESPACE.bytes
_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


_ID_CHARS: Final = 36


def split_leg_id(leg_id: str) -> tuple[SagaId, str]:
    """The two parts of a leg id, `<saga id>/<path>`: the saga's id, and the leg's path in the saga.

    Nothing is checked, since an id from the wire may be any text: what is no longer than a saga id
    is all in the first part and has an empty path.
    """
    return leg_id[:_ID_CHARS], leg_id[_ID_CHARS + 1 :]


def partition_key(origin: str, account: str) -> str:
    """The record key that all records of an account carry."""
    return f"{origin}/{account}"


def command_event_id(leg_id: str, verb: str, attempt: int) -> str:
    """`ce_id` of a command: `<leg id>#<attempt>`; readings of a leg count on their own."""
    return f"{leg_id}#{attempt}" if verb == "do" else f"{leg_id}#{verb}{attempt}"


def result_event_id(saga: SagaId, revision: int) -> str:
    """`ce_id` of a result: `<saga id>#r<revision>`."""
    return f"{saga}#r{revision}"


KEY_BUCKETS: Final = 4_096
"""How many buckets the key hash has; partition counts are powers of two that divide it."""

_MASK: Final = 0xFFFFFFFF
_MIX: Final = 0x5BD1E995


def murmur2(key: bytes) -> int:
    """Kafka's own hash of a record key, made positive; 31 bits."""
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

    Remembered: the records of one account ask for it again and again.
    """
    found = _remembered.get(key)
    if found is None:
        found = murmur2(key) % KEY_BUCKETS
        remember(key, found)
    return found


def remember(key: bytes, bucket: int) -> None:
    """Spare the next one who asks for the bucket of a key; the caller has it from a row."""
    if len(_remembered) >= _REMEMBERED_MAX:
        _remembered.clear()
    _remembered[key] = bucket


def partition_of(key: bytes, count: int) -> int:
    """The partition of a key in a topic of so many, as Kafka's own partitioner says."""
    return (murmur2(key) if KEY_BUCKETS % count else key_hash(key)) % count


def bucket(origin: str, account: str) -> int:
    """The key hash of an account, 0 to 4,095."""
    return key_hash(partition_key(origin, account).encode())


def saga_key(origin: str, account: str, request_id: str) -> tuple[int, SagaId]:
    """Where the saga of a request lives: its bucket and its id."""
    return bucket(origin, account), saga_id(origin, account, request_id)
