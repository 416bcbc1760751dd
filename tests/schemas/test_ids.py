"""Ids are computed: against independent oracles and known vectors."""

from __future__ import annotations

import random
import string
from uuid import UUID, uuid5

import pytest
from aiokafka.partitioner import murmur2 as kafka_murmur2

from schemas import ids
from schemas.ids import (
    KEY_BUCKETS,
    NAMESPACE,
    command_event_id,
    key_hash,
    murmur2,
    partition_key,
    partition_of,
    result_event_id,
    saga_id,
)

SAGA = "8851abe8-7819-5810-856f-b019c65f2c53"


def test_a_saga_id_is_uuid5_of_the_standard_library() -> None:
    chance = random.Random(20_261_122)
    for _ in range(500):
        origin, account, request = (
            "".join(chance.choices(string.printable[:95], k=chance.randrange(1, 129)))
            for _ in range(3)
        )
        name = f"{origin}\n{account}\n{request}"
        assert saga_id(origin, account, request) == str(uuid5(NAMESPACE, name))
        kind = saga_id(origin, account, request, "balance")
        assert kind == str(uuid5(NAMESPACE, f"{name}\nbalance"))


def test_a_leg_id_is_the_sagas_id_and_a_path() -> None:
    saga = ids.saga_id("alipayhk", "w-1", "r-1")
    assert ids.split_leg_id(f"{saga}/credit/1") == (saga, "credit/1")
    assert ids.split_leg_id(saga) == (saga, "")
    assert ids.split_leg_id("") == ("", "")


def test_the_name_space_never_changes() -> None:
    assert UUID("6f1c1f0e-2d0b-5c57-9a3e-75707270a001") == NAMESPACE
    assert saga_id("alipayhk", "w-1", "r-2026-0001") == SAGA


def test_the_three_parts_do_not_run_into_each_other() -> None:
    assert saga_id("a", "b", "c") != saga_id("a", "bc", "")
    assert saga_id("a", "b", "c") != saga_id("a", "c", "b")


def test_murmur2_is_kafkas() -> None:
    chance = random.Random(20_261_122)
    for _ in range(2_000):
        key = chance.randbytes(chance.randrange(64))
        assert murmur2(key) == kafka_murmur2(key) & 0x7FFFFFFF, key


@pytest.mark.parametrize(
    ("key", "signed"),
    (
        # The vectors of Apache Kafka's own test of this function.
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ),
)
def test_murmur2_keeps_known_vectors(key: bytes, signed: int) -> None:
    assert murmur2(key) == signed & 0x7FFFFFFF


@pytest.mark.parametrize("partitions", (1, 2, 8, 64, 1_024, 4_096))
def test_a_bucket_never_straddles_partitions(partitions: int) -> None:
    chance = random.Random(7)
    for _ in range(200):
        key = chance.randbytes(20)
        assert 0 <= key_hash(key) < KEY_BUCKETS
        assert key_hash(key) % partitions == murmur2(key) % partitions


@pytest.mark.parametrize("count", (1, 3, 8, 12, 4_096, 5_000))
def test_a_partition_is_the_one_that_kafka_would_take(count: int) -> None:
    chance = random.Random(11)
    for _ in range(200):
        key = chance.randbytes(20)
        for _ in range(2):  # Asked for once more, it comes from memory.
            assert partition_of(key, count) == (kafka_murmur2(key) & 0x7FFFFFFF) % count


def test_what_is_remembered_of_keys_has_a_bound() -> None:
    for number in range(40_000):
        key_hash(b"w-%d" % number)
    assert len(ids._remembered) <= ids._REMEMBERED_MAX
    assert all(key_hash(key) == bucket for key, bucket in [*ids._remembered.items()][:100])


def test_event_ids_are_the_same_after_a_restart() -> None:
    assert partition_key("alipayhk", "w-1") == "alipayhk/w-1"
    assert command_event_id(f"{SAGA}/deduct", "do", 2) == f"{SAGA}/deduct#2"
    assert command_event_id(f"{SAGA}/deduct", "inquire", 2) == f"{SAGA}/deduct#inquire2"
    assert result_event_id(SAGA, 3) == f"{SAGA}#r3"
