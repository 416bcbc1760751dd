"""One KRaft node of Apache Kafka, from the jars that `deploy/kafka/pom.xml` pins."""

import hashlib
import os
import shutil
import tempfile
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final
from xml.etree import ElementTree

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from adapters.embedded.caches import cache_folder, lock, locked
from adapters.embedded.processes import (
    EmbeddedError,
    Progress,
    Steps,
    Which,
    complete,
    finish,
    free_port,
    program,
    spawn,
)
from adapters.embedded.server import EmbeddedServer

POM: Final = Path(__file__).resolve().parents[2] / "deploy" / "kafka" / "pom.xml"
FETCH_WITHIN_S: Final = 600.0
HEAP: Final = ("-Xmx768m", "-XX:+UseSerialGC")
LOGGING: Final = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)

# design.md 6. What is not said here has Kafka's own default.
PROPERTIES: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=BROKER://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=BROKER://127.0.0.1:{port}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
log.dirs={records}
auto.create.topics.enable=false
# One node: every replicated topic of Kafka's own has one replica.
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# The defaults of 50 partitions each are for a cluster; here they only slow the start.
offsets.topic.num.partitions=8
transaction.state.log.num.partitions=8
share.coordinator.state.topic.num.partitions=8
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# After kill -9 the controller waits this long before the broker may come back (9 s by default).
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
# 128 MB by default, out of the heap of 768.
log.cleaner.dedupe.buffer.size=16777216
"""


def jars_folder() -> Path:
    """Return the folder of the jars that the present pom asks for, fetched or not."""
    pom = POM.read_bytes()
    namespace = "{http://maven.apache.org/POM/4.0.0}"
    broker = ElementTree.fromstring(pom).find(f".//{namespace}dependency/{namespace}version")  # noqa: S314 - our own file.
    version = broker.text if broker is not None else "unknown"
    return cache_folder() / f"kafka-{version}-{hashlib.sha256(pom).hexdigest()[:12]}"


class EmbeddedKafka(EmbeddedServer):
    """Apache Kafka on 127.0.0.1; topics are created by whoever needs them."""

    name: ClassVar[str] = "Apache Kafka"
    _client: AdminClient | None = None
    _controller_port: int | None = None

    @property
    def bootstrap_servers(self) -> str:
        """Host and port, as clients want them."""
        return f"127.0.0.1:{self.port}"

    def fetch(self, progress: Progress | None = None) -> None:
        """Fetch the jars by Maven unless they are cached; several processes may call it at once."""
        finish(self.fetching(progress))

    def fetching(self, progress: Progress | None = None) -> Steps:
        """Fetch in steps, see `fetch`."""
        progress = progress or self.progress
        jars = jars_folder()
        if jars.is_dir():
            return
        with lock(jars.parent / "kafka.lock") as handle:
            yield from locked(handle, progress, "it fetches Apache Kafka")
            if jars.is_dir():
                return
            progress(f"Fetching Apache Kafka's jars by Maven, once, into {jars}")
            work = Path(tempfile.mkdtemp(prefix=".fetching-", dir=jars.parent))
            try:
                yield from self._download(work)
                (work / "libs").rename(jars)
            finally:
                shutil.rmtree(work, ignore_errors=True)

    def _download(self, work: Path) -> Steps:
        command = [program("mvn"), "-B", "-q", "-f", str(POM), "dependency:copy-dependencies"]
        options = ["-DincludeScope=runtime", f"-DoutputDirectory={work / 'libs'}"]
        child = spawn(
            [*command, *options], folder=work, log=work / "log.txt", environment=os.environ
        )
        what = "Maven cannot fetch Apache Kafka; is a Maven repository reachable?"
        yield from complete(child, deadline_s=FETCH_WITHIN_S, what=what)
        if not any((work / "libs").glob("kafka_*.jar")):
            raise EmbeddedError(f"{what}\n  it fetched no broker")

    def kill(self) -> None:
        """Kill the broker (SIGKILL)."""
        self._client = None
        super().kill()

    def _prepare(self) -> Steps:
        yield from self.fetching()
        properties = self.data / "server.properties"
        self._controller_port = self._controller_port or free_port()
        properties.write_text(
            PROPERTIES.format(
                port=self.port, controller_port=self._controller_port, records=self._records
            )
        )
        if not (self._records / "meta.properties").exists():
            self.progress("Formatting Apache Kafka's storage")
            # Begins with a letter: a dash, one time in 64, would read as another option.
            cluster = f"K{urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]}"
            # A tool that runs once is not worth the second compiler.
            tool = self._java("-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool")
            order = ["format", "--ignore-formatted", "-t", cluster, "-c", str(properties)]
            child = spawn(
                [*tool, *order],
                folder=self.data,
                log=self.log,
                environment=self._environment(),
            )
            yield from complete(child, deadline_s=60, what="Apache Kafka cannot format its storage")
        self.progress("Starting Apache Kafka")

    @property
    def _records(self) -> Path:
        return self.data / "records"

    def _command(self) -> Sequence[str]:
        properties = self.data / "server.properties"
        return [*self._java(*HEAP, "kafka.Kafka"), str(properties)]

    def _java(self, *options_and_class: str) -> list[str]:
        # Java itself expands the wildcard; no shell may do it first.
        return [java(), "-cp", str(jars_folder() / "*"), *LOGGING, *options_and_class]

    def _environment(self) -> dict[str, str]:
        return {key: text for key, text in os.environ.items() if not key.startswith("KAFKA_")}

    def _answers(self) -> bool:
        """Tell whether the broker is a member of its cluster and leads every partition."""
        if self._client is None:
            self._client = AdminClient(
                {
                    "bootstrap.servers": self.bootstrap_servers,
                    "reconnect.backoff.ms": 50,
                    "reconnect.backoff.max.ms": 100,
                    "log_level": 0,
                }
            )
        try:
            metadata = self._client.list_topics(timeout=0.3)
        except KafkaException:
            return False
        leaders = [part.leader for t in metadata.topics.values() for part in t.partitions.values()]
        return bool(metadata.brokers) and all(leader >= 0 for leader in leaders)

    def _after_ready(self) -> None:
        self._client = None  # It would complain on standard error when the broker is killed.


def java(which: Which = shutil.which) -> str:
    """Return the path of the java command: JAVA_HOME's, else the first on PATH."""
    home = os.environ.get("JAVA_HOME")
    if home and (own := Path(home) / "bin" / "java").exists():
        return str(own)
    return program("java", which)
