"""Where measurements stand in the documents: between the marks `<!-- NAME: begin -->` and `<!-- NAME: end -->`."""
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent


def marks(name):
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def put(file, name, text):
    """`text` takes the place of what stands between the marks of `name` in `file`, a path below the project's root."""
    path, (begin, end) = ROOT / file, marks(name)
    head, rest = path.read_text().split(begin)
    path.write_text(f"{head}{begin}\n{text}\n{end}{rest.split(end)[1]}")
