"""Files of a repository that has adopted models, as tests read them."""

from controller.lockfile.store import read_lockfile

NO_CHANGES = "No changes."


def spec(shell, name):
    return (shell.root / f"finetunes/{name}.yaml").read_text(encoding="utf-8")


def data(shell, name):
    return (shell.root / f"finetunes/data/{name}.jsonl").read_bytes()


def written(shell):
    """Return every file of the folder of specs."""
    folder = shell.root / "finetunes"
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def build_of(shell, name):
    entry = read_lockfile(shell.root, shell.root / ".ftctl").finetunes[name]
    return entry.builds[entry.production]
