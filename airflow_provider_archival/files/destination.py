"""Where files are saved: a folder or a file, on this machine or in any object storage, tried beforehand."""

from __future__ import annotations

import errno
import logging
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from airflow.providers.common.compat.lineage.hook import get_hook_lineage_collector
from airflow.providers.common.compat.sdk import AirflowException, AirflowNotFoundException, ObjectStoragePath

from airflow_provider_archival.api.urls import hidden, secrets_in, without_query
from airflow_provider_archival.exceptions import DestinationNotReachable, DestinationNotUsable

log = logging.getLogger(__name__)

_SUFFIX = ".csv"
# A colon behind a slash, as in a time, makes no scheme; a name before an "@" is that of a connection.
_LOCAL = re.compile(r"(?:(?:file|local)://(?![^/]*@))?(?=~|/|[^:]*$|[^:/]+/)", re.IGNORECASE)
# What a person has to mend; anything else, such as a full disk or a storage that is away, may pass.
_LASTING: tuple[type[Exception], ...] = (
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
# A storage that can't be had at all says so in one of these ways.
_LASTING_AT_FIRST = (*_LASTING, ImportError, ValueError, TypeError, NotImplementedError)
_LASTING_ERRNOS = frozenset({errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL})


@dataclass(frozen=True)
class Destination:
    """
    A folder, or a path that ends in ``.csv`` (in any case), as a local path or any object storage URL.

    :param given: the path or URL; blanks around it are dropped, and ``~`` is the home of who runs this
    :param conn_id: the connection of the object storage, if the URL does not name it
    """

    given: str
    conn_id: str | None = None

    @cached_property
    def text(self) -> str:
        """The path or URL; a local one is absolute."""
        text = self.given.strip()
        scheme = (found := _LOCAL.match(text)) and found[0]
        if scheme is None:
            return text
        end = "/" if text.endswith("/") else ""
        path = os.path.abspath(os.path.expanduser(text[len(scheme) :]))
        return f"{scheme.lower()}{path.rstrip('/')}{end}" or path

    @property
    def shown(self) -> str:
        """The path or URL as it may be shown: the name of a connection is no secret, a signature is."""
        _, scheme, rest = self.text.partition("://")
        login = rest.partition("/")[0].rpartition("@")[0]
        return without_query(self.text) if scheme and ("?" in rest or ":" in login) else self.text

    @property
    def is_file(self) -> bool:
        return self.text.lower().endswith(_SUFFIX)

    def target(self, name: str) -> Any:
        """Return the path of a file, which has this name in a folder."""
        target = ObjectStoragePath(self.text, conn_id=self.conn_id)
        return target if self.is_file else target / name

    def check(self) -> None:
        """
        Try whether files can be saved: write a small one, rename it and remove it.

        :raises DestinationNotUsable: they can't, and a retry can't mend that
        :raises DestinationNotReachable: they can't now
        """
        with self._errors(_LASTING_AT_FIRST, "Nothing was asked for yet."):
            self._check_home()
            target = self.target("x.csv")
            # As long as the file's own name, which may be too long.
            name = f".archival-{uuid.uuid4().hex}".ljust(len(target.name.encode()), "x")
            with self._writing(target, target.parent / name) as part:
                with part.open() as file:
                    file.write(b"archival\n")
                part.move()
                part.filesystem.rm_file(part.path)

    @contextmanager
    def saving(self, name: str) -> Iterator[Part]:
        """
        Give a place to write a file to; at the end it gets its own name, or it is removed where this fails.

        :param name: the file's name in a folder
        :raises DestinationNotUsable: it can't be saved, and a retry can't mend that
        :raises DestinationNotReachable: it can't be saved now
        """
        with self._errors(_LASTING, "The file is still at the service: nothing has to be asked for again."):
            target = self.target(name)
            with self._writing(target, target) as part:
                yield part
                part.move()
            # What Airflow's own path tells when it is written to, which would name the temporary file.
            collector = get_hook_lineage_collector()  # type: ignore[no-untyped-call]
            collector.add_output_asset(context=target, uri=str(target))

    def _check_home(self) -> None:
        text = self.given.strip()
        path = text[len(found[0]) :] if (found := _LOCAL.match(text)) else ""
        if os.path.expanduser(path).startswith("~"):
            raise FileNotFoundError(errno.ENOENT, f"nobody's home is {path.partition('/')[0]} here")

    @contextmanager
    def _writing(self, target: Any, path: Any) -> Iterator[Part]:
        filesystem, folder = target.fs, target.parent.path
        if filesystem.isdir(target.path):
            raise IsADirectoryError(errno.EISDIR, f"a folder is at {target.path}")
        filesystem.makedirs(folder, exist_ok=True)
        # Nobody else has this name, whoever writes the same file at the same time.
        temporary = f"{folder.rstrip('/')}/.archival-{uuid.uuid4().hex}.part"
        part = Part(filesystem, temporary, path.path)
        try:
            yield part
        finally:
            part.clean()

    @contextmanager
    def _errors(self, lasting: tuple[type[Exception], ...], so: str) -> Iterator[None]:
        try:
            yield
        except AirflowNotFoundException as error:
            # Also where a secrets backend was away: Airflow does not tell the two apart.
            raise DestinationNotReachable(f"Can't save to {self.shown}: {error} {so}") from error
        except AirflowException:
            raise
        except Exception as error:
            lasts = isinstance(error, lasting) or getattr(error, "errno", None) in _LASTING_ERRNOS
            what = getattr(error, "strerror", None) or str(error) or "no reason is told"
            if self.shown != self.text:
                what = hidden(what, secrets_in([self.text]))
            said = f"Can't save to {self.shown}: {what} ({type(error).__name__}). {so}"
            if not lasts:
                raise DestinationNotReachable(f"{said} The next try may succeed.") from error
            raise DestinationNotUsable(f"{said} {self._advice(error)} Then clear this task.") from error

    def _advice(self, error: Exception) -> str:
        scheme = self.text.partition("://")[0] if "://" in self.text else ""
        if isinstance(error, (ImportError, ValueError)) and scheme:
            return (
                f"Check the scheme '{scheme}', and install the provider and the library that it needs here,"
                " such as apache-airflow-providers-amazon[s3fs] for s3, or apache-airflow-providers-google"
                " for gs."
            )
        if isinstance(error, PermissionError):
            return "Let this worker, or the connection's account, write there, or change destination."
        return "Change destination: a folder, or a file that ends in .csv, that can be written here."


@dataclass(frozen=True)
class Part:
    """A file under a temporary name, and the path that it is to have."""

    filesystem: Any
    temporary: str
    path: str

    def open(self) -> Any:
        """Open it for writing, from its begin."""
        return self.filesystem.open(self.temporary, "wb")

    def move(self) -> None:
        """Give it its own name; in an object storage that is a copy, which is there at once or not at all."""
        # Not the path's replace(): some versions of Airflow don't use the connection there.
        self.filesystem.mv(self.temporary, self.path)

    def clean(self) -> None:
        """Remove what is left under the temporary name."""
        try:
            if self.filesystem.exists(self.temporary):
                self.filesystem.rm_file(self.temporary)
        except Exception as error:  # noqa: BLE001 (what went wrong before is what matters)
            log.warning("Could not remove %s: %s", self.temporary, error)
