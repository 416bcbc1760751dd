"""What the demo runs on: servers, topics, tables, coordinator and companies, made from nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from pydantic import SecretStr

from adapters.console import run, step
from adapters.demo.services import Endpoints, Services
from adapters.embedded.environment import DetachedEnvironment, Environment, signals_deferred
from adapters.kafka.topics import TopicAdmin, wanted
from adapters.postgres.migrate import migrate
from adapters.settings import read_settings
from orchestrator.catalogue.loader import Catalogue, load
from orchestrator.settings import Settings


@dataclass(frozen=True, slots=True)
class Deployment:
    """Everything that runs, and where it is reached."""

    endpoints: Endpoints
    services: Services
    catalogue: Catalogue


@contextmanager
def temporary_deployment(faults: Path) -> Generator[Deployment]:
    """A deployment for the length of the block; nothing stays behind, whatever ends it.

    Raises:
        EmbeddedError: a server or a service does not start.
    """
    # The folder is named before it is made, so that there is no moment at which it could leak.
    folder = Path(tempfile.gettempdir()) / f"uprp-demo-{uuid4().hex[:12]}"
    with step("Starting Apache Kafka and PostgreSQL") as say:
        environment = Environment(folder, progress=say)
        environment.__enter__()
    try:
        endpoints = Endpoints(environment.kafka.bootstrap_servers, environment.postgres.dsn)
        services = Services(folder)
        try:
            yield _deploy(endpoints, services, faults)
        finally:
            with step("Stopping everything"):
                services.stop()
    finally:
        environment.close()


@contextmanager
def detached_deployment(folder: Path, faults: Path) -> Generator[Deployment]:
    """A deployment under a folder that goes on after the block; an error in it removes everything.

    Raises:
        EmbeddedError: a server or a service does not start.
    """
    services = Services(folder, detached=True)
    environment = DetachedEnvironment(folder)
    try:
        with step("Starting Apache Kafka and PostgreSQL") as say:
            found = DetachedEnvironment(folder, progress=say).up()
        endpoints = Endpoints(found.bootstrap_servers or "", found.dsn or "")
        yield _deploy(endpoints, services, faults)
    except BaseException:
        with step("Stopping everything"), signals_deferred():
            services.kill()
            environment.remove()
        raise


def _deploy(endpoints: Endpoints, services: Services, faults: Path) -> Deployment:
    settings = _settings(endpoints)
    catalogue = load(settings.deploy)
    with step("Creating the topics and the tables"):
        run(_prepare(settings, catalogue))
    with step("Starting the coordinator and the simulated companies"):
        services.start(endpoints, faults)
    return Deployment(endpoints, services, catalogue)


def _settings(endpoints: Endpoints) -> Settings:
    """The settings of this process, with the demo's own servers in place of the configured ones."""
    settings = read_settings()
    kafka = {"bootstrap_servers": endpoints.bootstrap_servers}
    postgres = {"dsn": SecretStr(endpoints.dsn)}
    return settings.model_copy(
        update={
            "kafka": settings.kafka.model_copy(update=kafka),
            "postgres": settings.postgres.model_copy(update=postgres),
        }
    )


async def _prepare(settings: Settings, catalogue: Catalogue) -> None:
    admin = TopicAdmin(settings.kafka)
    await admin.apply(await admin.plan(wanted(catalogue, settings.kafka.partitions)))
    await migrate(settings.postgres.dsn.get_secret_value())
