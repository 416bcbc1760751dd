"""The embedded servers serve, survive kill -9 with their data, and start again where they were."""

import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from adapters.embedded.kafka import EmbeddedKafka
from adapters.embedded.postgres import EmbeddedPostgres, account
from adapters.embedded.processes import spawn, stop
from adapters.embedded.server import EmbeddedServer
from tests.support import wait_until

pytestmark = pytest.mark.servers


@pytest.fixture
def topic(kafka: EmbeddedKafka) -> str:
    name = f"records-{uuid.uuid4().hex}"
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
    for future in admin.create_topics([NewTopic(name, 2, 1)]).values():
        future.result(timeout=10)
    return name


@pytest.fixture(autouse=True)
def _left_running(kafka: EmbeddedKafka, postgres: EmbeddedPostgres) -> Iterator[None]:
    yield
    kafka.start()
    postgres.start()


def runs(server: EmbeddedServer) -> bool:
    return server.pid is not None


def produce(kafka: EmbeddedKafka, topic: str, text: bytes) -> None:
    errors: list[object] = []
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "acks": "all"})
    producer.produce(topic, text, on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(10) == 0
    assert errors == [None]


def consume(kafka: EmbeddedKafka, topic: str) -> bytes:
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap_servers,
            "group.id": uuid.uuid4().hex,
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 1_000,
            "heartbeat.interval.ms": 300,
        }
    )
    consumer.subscribe([topic])
    try:
        message = consumer.poll(15)
    finally:
        consumer.close()
    assert message is not None, "no record within 15 s"
    assert message.error() is None
    return bytes(message.value())


def test_a_record_survives_kill_9_of_the_broker(kafka: EmbeddedKafka, topic: str) -> None:
    produce(kafka, topic, b"before")
    assert consume(kafka, topic) == b"before"
    first, port = kafka.pid, kafka.port
    kafka.kill()
    assert not runs(kafka)
    kafka.start()
    assert runs(kafka)
    assert kafka.pid != first
    assert kafka.port == port
    assert consume(kafka, topic) == b"before"
    produce(kafka, topic, b"after")


def test_topics_are_made_on_purpose_only(kafka: EmbeddedKafka) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
    admin.list_topics("never-declared", timeout=5)
    assert "never-declared" not in admin.list_topics(timeout=5).topics


async def test_a_row_survives_kill_9_of_postgresql(
    postgres: EmbeddedPostgres, database: str
) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute("create table kept (n int)")
    await connection.execute("insert into kept values (7)")
    family = [p.pid for p in psutil.Process(postgres.pid).children()]
    assert family, "PostgreSQL has processes of its own"
    postgres.kill()
    assert not [pid for pid in family if psutil.pid_exists(pid)], "no process and no zombie"
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await connection.fetchval("select n from kept")
    await connection.close(timeout=1)
    postgres.start()
    connection = await asyncpg.connect(database)
    try:
        assert await connection.fetchval("select n from kept") == 7
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert await connection.fetchval(f"show {setting}") == "on"
    finally:
        await connection.close()


def test_a_postmaster_killed_by_somebody_else_starts_again(postgres: EmbeddedPostgres) -> None:
    pid = postgres.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not runs(postgres), 5, "the postmaster's end is seen")
    postgres.start()
    assert postgres.pid not in (None, pid)


def test_a_recycled_pid_in_postmaster_pid_is_no_obstacle(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    """Of the same account: PostgreSQL by itself forgives only a pid that it may not signal."""
    postgres.kill()
    stranger = spawn(
        ["/bin/sleep", "60"],
        folder=Path("/"),
        log=tmp_path / "log.txt",
        environment={},
        account=account(),
    )
    pid_file = postgres.cluster / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
    postgres.start()
    assert runs(postgres)
    assert stop(stranger, signal.SIGTERM, deadline_s=5), "the stranger was left alone"


def test_a_paused_server_answers_nobody_until_it_is_resumed(kafka: EmbeddedKafka) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
    kafka.pause()
    with pytest.raises(KafkaException):
        admin.list_topics(timeout=0.5)
    kafka.resume()
    assert admin.list_topics(timeout=10).brokers


def test_a_server_outlives_the_thread_that_started_it(postgres: EmbeddedPostgres) -> None:
    """Linux ties a child to the thread that made it, which must not be a short-lived one."""
    postgres.stop()
    starter = threading.Thread(target=postgres.start)
    starter.start()
    starter.join()
    child = psutil.Process(postgres.pid)
    with pytest.raises(psutil.TimeoutExpired):
        child.wait(timeout=0.5)


def test_starting_what_runs_does_nothing(postgres: EmbeddedPostgres) -> None:
    pid = postgres.pid
    began = time.monotonic()
    postgres.start()
    assert postgres.pid == pid
    assert time.monotonic() - began < 5


async def test_each_test_has_a_database_of_its_own(
    postgres: EmbeddedPostgres, database: str
) -> None:
    odd = postgres.create_database('odd "name\'s"')
    assert postgres.create_database('odd "name\'s"') == odd
    connection = await asyncpg.connect(database)
    try:
        count = "select count(*) from pg_database where datname = $1"
        assert (
            await connection.fetchval("select count(*) from pg_class where relname = 'kept'") == 0
        )
        assert await connection.fetchval(count, 'odd "name\'s"') == 1
        postgres.drop_database('odd "name\'s"')
        assert await connection.fetchval(count, 'odd "name\'s"') == 0
    finally:
        await connection.close()
