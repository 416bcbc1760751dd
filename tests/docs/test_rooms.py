"""The picture of the rooms says what the code imports, and leaves out what follows."""

from pathlib import Path

from adapters.cli.rooms import rooms, table


def package(folder: Path, **files: str) -> Path:
    """A package with those files; a name with two underscores is a file in a folder."""
    root = folder / "house"
    for name, text in files.items():
        path = root / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        (path.parent / "__init__.py").touch()
    return root


def test_what_follows_from_other_arrows_is_not_drawn(tmp_path: Path) -> None:
    root = package(
        tmp_path,
        attic="from house.hall import stairs\nfrom house import cellar\n",
        hall__stairs="from house.cellar import light\nfrom house.hall import door\nimport os\n",
        hall__door="",
        cellar="",
    )
    assert rooms(root).splitlines() == [
        "flowchart TD",
        "    attic",
        "    cellar",
        "    hall",
        "    attic --> hall",
        "    hall --> cellar",
    ]


def test_each_room_says_what_it_is_for(tmp_path: Path) -> None:
    root = package(tmp_path, cellar='"""Wine,\nand coal. Dark.\n\nMore of it."""\n')
    assert table(root).splitlines()[2:] == ["| `cellar` | Wine, and coal. Dark. |"]
