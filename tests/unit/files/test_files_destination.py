"""Where files go: the forms of a destination, that it is tried beforehand, and that writers don't meet."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, ObjectStoragePath
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_archival.api.portable import encodable
from airflow_provider_archival.exceptions import DestinationNotReachable, DestinationNotUsable, FileTooLarge
from airflow_provider_archival.files.destination import Destination

try:
    from airflow.sdk.io import attach
except ImportError:
    from airflow.io.store import attach

if TYPE_CHECKING:
    from collections.abc import Iterator


class Storage(MemoryFileSystem):
    """An object storage, in which a file is renamed by a copy; it can be made to fail."""

    protocol = "archival-test"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    fault: Exception | None = None
    moved: ClassVar[list[tuple[str, str]]] = []

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        if self.fault is not None and "w" in mode:
            raise self.fault
        return super()._open(path, mode, **kwargs)

    def mv(self, path1: str, path2: str, **kwargs: Any) -> None:
        self.moved.append((path1, path2))
        super().mv(path1, path2, **kwargs)


@pytest.fixture
def storage() -> Iterator[Storage]:
    found = Storage()
    found.store.clear()
    found.moved.clear()
    found.pseudo_dirs[:] = [""]
    found.fault = None
    # Under a scheme of Airflow's own list, so that its paths know it.
    attach("memory", fs=found)
    yield found
    found.fault = None


def saved(to: Destination, name: str = "x.csv", content: bytes = b"key\n") -> str:
    with to.saving(name) as part, part.open() as file:
        file.write(content)
    return str(to.target(name))


def content(to: Destination) -> dict[str, bytes]:
    """Return what is in a folder, by name."""
    folder = ObjectStoragePath(to.text)
    paths = folder.fs.ls(folder.path, detail=False)
    return {path.rpartition("/")[2]: folder.fs.cat_file(path) for path in paths}


# --- what it may look like ---


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("{tmp}/folder", "{tmp}/folder/x.csv"),
        ("{tmp}/folder/", "{tmp}/folder/x.csv"),
        ("{tmp}/mine.csv", "{tmp}/mine.csv"),
        ("{tmp}/mine.CSV", "{tmp}/mine.CSV"),
        (" {tmp}/mine.csv \n", "{tmp}/mine.csv"),
        ("{tmp}/a b.csv", "{tmp}/a b.csv"),
        ("{tmp}/mine.csv/", "{tmp}/mine.csv/x.csv"),
        ("file://{tmp}/mine.csv", "{tmp}/mine.csv"),
        ("FILE://{tmp}/folder", "{tmp}/folder/x.csv"),
        ("~/folder", "{tmp}/folder/x.csv"),
        ("~/mine.csv", "{tmp}/mine.csv"),
        ("file://~/mine.csv", "{tmp}/mine.csv"),
        ("folder", "{tmp}/folder/x.csv"),
        ("folder/mine.csv", "{tmp}/folder/mine.csv"),
        ("./folder/../mine.csv", "{tmp}/mine.csv"),
        ("at/2026-01-31T02:30:00+00:00", "{tmp}/at/2026-01-31T02:30:00+00:00/x.csv"),
        ("at/02:30/mine.csv", "{tmp}/at/02:30/mine.csv"),
    ],
)
def test_a_destination_is_a_folder_or_a_file_in_every_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, path: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    to = Destination(given.format(tmp=tmp_path))
    to.check()
    told = saved(to)
    file = Path(path.format(tmp=tmp_path))
    assert file.read_bytes() == b"key\n"
    assert told.partition("://")[2] == str(file) if "://" in given else told == str(file)
    assert [one for one in tmp_path.rglob("*") if one.is_file()] == [file]


def test_a_url_may_name_its_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    to = Destination(f"file://mine@{tmp_path}/folder")
    to.check()
    told = saved(to)
    assert [one for one in tmp_path.rglob("*") if one.is_file()] == [tmp_path / "folder" / "x.csv"]
    assert ObjectStoragePath(told).read_bytes() == b"key\n"


def test_an_object_storage_is_one_too(storage: Storage) -> None:
    to = Destination(" memory://bucket/exports ")
    to.check()
    assert saved(to).startswith("memory://")
    assert [path.rpartition("/")[2] for path in storage.store] == ["x.csv"]
    assert all(old.endswith(".part") for old, _ in storage.moved)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("s3://bucket/x.csv?sig=0123456789", "s3://bucket/x.csv?***"),
        ("abfs://me:0123456789@bucket/x", "abfs://***@bucket/x"),
        ("https://example.com/x.csv?sv=1&sig=0123456789", "https://example.com/x.csv?***"),
        ("s3://my_conn@bucket/x", "s3://my_conn@bucket/x"),
        ("file:///proc/nowhere?/x", "file:///proc/nowhere?***"),
        ("/proc/nowhere?/x.csv", "/proc/nowhere?/x.csv"),
    ],
)
def test_what_opens_a_destination_is_shown_in_no_error(given: str, shown: str) -> None:
    with pytest.raises((DestinationNotUsable, DestinationNotReachable)) as caught:
        Destination(given).check()
    assert str(caught.value).startswith(f"Can't save to {shown}: ")
    assert "0123456789" not in str(caught.value)


# --- tried beforehand ---


def test_a_try_leaves_nothing_behind_and_touches_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("the last good one")
    for text in (f"{tmp_path}/mine.csv", str(tmp_path)):
        Destination(text).check()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"mine.csv": "the last good one"}


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("s3://bucket/x", r"No filesystem registered for scheme s3.*install .*amazon\[s3fs\]"),
        ("nonsense://bucket/x", "Check the scheme 'nonsense'"),
        ("{tmp}/file/folder", "FileExistsError|NotADirectoryError"),
        ("{tmp}/file", "FileExistsError|NotADirectoryError"),
        ("{tmp}/file/x.csv", "FileExistsError|NotADirectoryError"),
        ("{tmp}/folder.csv", "a folder is at"),
        ("/proc/nowhere", "FileNotFoundError|PermissionError"),
        ("{tmp}/" + "a" * 300 + ".csv", "File name too long"),
        ("{tmp}/a\0b", "null"),
        ("~nobody-has-this-name/x.csv", "nobody's home is ~nobody-has-this-name"),
        ("file://~nobody-has-this-name", "nobody's home is ~nobody-has-this-name"),
    ],
)
def test_what_can_not_be_written_to_fails_for_good_and_names_the_destination(
    tmp_path: Path, given: str, complaint: str
) -> None:
    (tmp_path / "file").write_text("a file")
    (tmp_path / "folder.csv").mkdir()
    to = Destination(given.format(tmp=tmp_path))
    with pytest.raises(DestinationNotUsable, match=complaint) as caught:
        to.check()
    assert isinstance(caught.value, AirflowFailException)
    assert str(caught.value).startswith(f"Can't save to {encodable(to.text)}: ")
    assert (tmp_path / "file").read_text() == "a file"


@pytest.mark.parametrize("text", ["{tmp}/file", "{tmp}/folder.csv", "/proc/nowhere"])
def test_what_can_not_be_written_to_any_more_fails_for_good_and_says_that_nothing_is_lost(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "file").write_text("a file")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DestinationNotUsable, match="nothing has to be asked for again"):
        saved(Destination(text.format(tmp=tmp_path)))


def test_a_folder_without_a_permission_fails_for_good(storage: Storage) -> None:
    storage.fault = PermissionError(errno.EACCES, "Access Denied")
    with pytest.raises(
        DestinationNotUsable, match=r"Access Denied \(PermissionError\).*account, write there"
    ):
        Destination("memory://bucket/x").check()


@pytest.mark.parametrize(
    "fault",
    [OSError(errno.ENOSPC, "No space left"), TimeoutError("timed out"), RuntimeError("SlowDown")],
    ids=repr,
)
@pytest.mark.parametrize("how", ["check", "saving"])
def test_what_may_pass_is_worth_a_retry(storage: Storage, fault: Exception, how: str) -> None:
    storage.fault = fault
    to = Destination("memory://bucket/x")
    with pytest.raises(DestinationNotReachable, match="Can't save to memory://bucket/x: ") as caught:
        to.check() if how == "check" else saved(to)
    assert not isinstance(caught.value, AirflowFailException)
    assert storage.store == {}


def test_a_connection_that_is_not_there_is_named_and_worth_a_retry(storage: Storage) -> None:
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    storage.fault = AirflowNotFoundException("The conn_id `my_s3` isn't defined")
    with pytest.raises(DestinationNotReachable, match="my_s3"):
        Destination("memory://bucket/x").check()


# --- writers don't meet ---


@pytest.mark.parametrize("given", ["{tmp}", "memory://bucket/x"])
def test_two_writers_of_one_file_never_share_a_name(storage: Storage, tmp_path: Path, given: str) -> None:
    to = Destination(given.format(tmp=tmp_path))
    with to.saving("x.csv") as one, one.open() as first:
        first.write(b"one, and longer")
        with to.saving("x.csv") as two, two.open() as second:
            second.write(b"two")
        assert content(to)["x.csv"] == b"two"
    assert content(to) == {"x.csv": b"one, and longer"}


def test_a_temporary_name_is_hidden(tmp_path: Path) -> None:
    with Destination(str(tmp_path)).saving("x.csv") as part, part.open() as file:
        file.write(b"key\n")
        assert [name for name in os.listdir(tmp_path) if not name.startswith(".")] == []


@pytest.mark.parametrize("error", [FileTooLarge("too large"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("given", ["{tmp}", "memory://bucket/x"])
def test_a_file_that_failed_leaves_what_was_there(
    storage: Storage, tmp_path: Path, given: str, error: BaseException
) -> None:
    to = Destination(given.format(tmp=tmp_path))
    saved(to, content=b"the last good one")

    def fail() -> None:
        with to.saving("x.csv") as part, part.open() as file:
            file.write(b"half of it")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert content(to) == {"x.csv": b"the last good one"}
