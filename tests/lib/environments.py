"""Other people's clients, fetched once into a cache folder of the user: Python, Go, Node and Java environments for the tests."""
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "odradek"
SOURCE = pathlib.Path(__file__).resolve().parents[2]


class Missing(Exception):
    """What is needed cannot be had on this machine; the text says what."""


def _run(command, what, timeout=600, **options):
    try:
        done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, **options)
    except FileNotFoundError:
        raise Missing(f"{command[0]} is not installed")
    except subprocess.TimeoutExpired:
        raise Missing(f"{what}: no end within {timeout} s")
    if done.returncode != 0:
        raise Missing(f"{what}: {done.stdout.strip().splitlines()[-1] if done.stdout.strip() else 'failed'}")
    return done.stdout


def _ready(folder):
    return (folder / ".ready").exists()


def _mark(folder):
    (folder / ".ready").touch()


def python(*packages):
    """The interpreter of a virtual environment that holds `packages`."""
    folder = CACHE / ("python-" + hashlib.sha256(" ".join(packages).encode()).hexdigest()[:12])
    if not _ready(folder):
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", folder], "python venv")
        _run([folder / "bin/pip", "install", "-q", *packages], "pip install " + " ".join(packages))
        _mark(folder)
    return folder / "bin/python"


def go(source):
    """The program built from the Go module in `source`."""
    text = b"".join(path.read_bytes() for path in sorted(source.glob("*.go")) + [source / "go.mod"])
    folder = CACHE / ("go-" + hashlib.sha256(text).hexdigest()[:12])
    if not _ready(folder):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
        env = dict(os.environ, GOFLAGS="-mod=mod", GOTOOLCHAIN="auto")
        _run(["go", "mod", "tidy"], "go mod tidy", cwd=folder, env=env)
        _run(["go", "build", "-o", "client", "."], "go build", cwd=folder, env=env)
        _mark(folder)
    return folder / "client"


def node(source, *packages):
    """A copy of `source` beside an installed node_modules."""
    text = b"".join(path.read_bytes() for path in sorted(source.glob("*.js"))) + " ".join(packages).encode()
    folder = CACHE / ("node-" + hashlib.sha256(text).hexdigest()[:12])
    if not _ready(folder):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
        _run(["npm", "install", "--no-audit", "--no-fund", "--silent", *packages], "npm install " + " ".join(packages), cwd=folder)
        _mark(folder)
    return folder


def kafka_class_path(version):
    """The class path of Apache Kafka `version`, brought by Maven (tests/lib/kafka.sh)."""
    script = SOURCE / "tests/lib/kafka.sh"
    if shutil.which("java") is None or shutil.which("mvn") is None:
        raise Missing("java and mvn are needed")
    return _run(["bash", "-c", f". {script} && kafka_home {version}"], f"Apache Kafka {version}").strip().splitlines()[-1] + "/*"


def java(source, version):
    """A command that runs the class in `source` with Kafka's clients of `version`."""
    class_path = kafka_class_path(version)
    folder = CACHE / ("java-" + version + "-" + hashlib.sha256(source.read_bytes()).hexdigest()[:12])
    if not _ready(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _run(["javac", "-nowarn", "-cp", class_path, "-d", folder, source], "javac")
        _mark(folder)
    return ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", f"{folder}:{class_path}", source.stem]


def maven(name, *artifacts):
    """The class path of `artifacts` ("group:artifact:version") and all that they need, brought by Maven into a folder `name` of the cache."""
    if shutil.which("java") is None or shutil.which("mvn") is None:
        raise Missing("java and mvn are needed")
    folder = CACHE / name
    if not _ready(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        lines = ""
        for artifact in artifacts:
            group, one, version = artifact.split(":")
            lines += f"<dependency><groupId>{group}</groupId><artifactId>{one}</artifactId><version>{version}</version></dependency>"
        (folder / "pom.xml").write_text(
            '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>odradek</groupId>'
            f"<artifactId>{name}</artifactId><version>1</version><packaging>pom</packaging><dependencies>{lines}</dependencies></project>")
        _run(["mvn", "-q", "-B", "-f", folder / "pom.xml", "dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}"],
             "mvn " + " ".join(artifacts))
        _mark(folder)
    return f"{folder}/*"


def java_with(source, class_path, name):
    """A command that runs the class in `source` with the jars of `class_path`; `name` tells such environments apart."""
    folder = CACHE / ("java-" + name + "-" + hashlib.sha256(source.read_bytes()).hexdigest()[:12])
    if not _ready(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _run(["javac", "-nowarn", "-cp", class_path, "-d", folder, source], f"javac {source.name} for {name}")
        _mark(folder)
    return ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", f"{folder}:{class_path}", source.stem]
