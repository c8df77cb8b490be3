"""Tasks for workers that may not see the temporary files of this machine: they bring the bytes of such files."""

from __future__ import annotations

from dataclasses import replace

from bbcodec.archive.write.tasks import BytesTask, FilePart, FileTask, ImageTask, Task
from bbcodec.atomic_files import is_temporary
from bbcodec.input_files import FileBytes, FileSource, read_file, read_piece


def carried(task: Task, *, always: bool = False) -> Task:
    """The task, with the bytes of files in temporary folders, or `always` of all, in place of their paths.

    Copies lie there of what is read from URLs and from standard input, and of files that changed while they were read.
    Raises InputError.
    """
    if isinstance(task, ImageTask):
        return replace(task, files=tuple(file._replace(path=_carried(file.path, always)) for file in task.files))
    if isinstance(task, FileTask):
        return replace(task, path=_carried(task.path, always))
    if isinstance(task, BytesTask):
        return replace(task, parts=tuple(_carried_part(part, always) for part in task.parts))
    return task


def _travels(path: FileSource, always: bool) -> bool:
    """Whether the bytes of a file come with its task."""
    return not isinstance(path, FileBytes) and (always or (isinstance(path, str) and is_temporary(path)))


def _carried(path: FileSource, always: bool) -> FileSource:
    return FileBytes(read_file(path)) if _travels(path, always) else path


def _carried_part(part: FilePart, always: bool) -> FilePart:
    if _travels(part.path, always):
        return part._replace(path=FileBytes(read_piece(part.path, part.start, part.length), part.start))
    return part
