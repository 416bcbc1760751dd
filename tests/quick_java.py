"""Brokers that start quickly: tests start them by the dozen, each with six seconds of computing.

Four of the six load the same classes and compile them twice. The classes are archived once, as the
Java machine itself offers it, and are mapped from then on; the second compiler is not worth its
while in minutes. Java leaves an archive alone that does not fit the jars or itself, so that nothing
has to be kept in step. Only tests do it: `uprp up` runs the broker as it is written there.

    python -m tests.quick_java
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from adapters.embedded.kafka import EmbeddedKafka, jars_folder

VARIABLE: Final = "JDK_JAVA_OPTIONS"
ONE_COMPILER: Final = "-XX:TieredStopAtLevel=1"
BUILD: Final = Path(__file__).resolve().parents[1] / "build"


def archive() -> Path:
    """The file of the classes of the present jars, made or not."""
    return BUILD / f"{jars_folder().name}.jsa"


def use() -> None:
    """Have every broker that this process or one below it starts be a quick one."""
    if VARIABLE not in os.environ:  # Who says something else to Java is not contradicted.
        options = [ONE_COMPILER]
        if archive().exists():
            options.append(f"-XX:SharedArchiveFile={archive()}")
        os.environ[VARIABLE] = " ".join(options)


def make() -> None:
    """Run a broker once and keep its classes, unless they are kept already."""
    if archive().exists():
        return
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="classes-", dir=BUILD) as folder:
        # The tool that formats the storage leaves its classes in the file too; the broker, which
        # ends later, replaces them by its own.
        made = Path(folder) / "classes.jsa"
        os.environ[VARIABLE] = f"{ONE_COMPILER} -XX:ArchiveClassesAtExit={made}"
        broker = EmbeddedKafka(Path(folder) / "kafka")
        try:
            broker.start()
            broker.stop()  # In order: who is killed leaves no archive.
        finally:
            broker.remove()
        if made.exists():  # Without it brokers are slower, and nothing else.
            made.replace(archive())


if __name__ == "__main__":
    make()
