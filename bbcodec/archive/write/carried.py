"""Tasks for workers that may not see the temporary files of this machine: they bring the bytes of such files."""

from __future__ import annotations

from dataclasses import replace

from bbcodec.archive.write.tasks import BytesTask, FilePart, FileTask, ImageTask, Task
from bbcodec.atomic_files import is_temporary
from bbcodec.input_files import FileBytes, FileSource, read_file, read_piece


def carried(task: Task) -> Task:
    """The task, with the bytes of files in temporary folders in place of their paths. Raises InputError.

    Copies lie there of what is read from URLs and from standard input, and of files that changed while they were read.
    """
    if isinstance(task, ImageTask):
        return replace(task, files=tuple(file._replace(path=_carried(file.path)) for file in task.files))
    if isinstance(task, FileTask):
        return replace(task, path=_carried(task.path))
    return replace(task, parts=tuple(map(_carried_part, task.parts))) if isinstance(task, BytesTask) else task


def _carried(path: FileSource) -> FileSource:
    return FileBytes(read_file(path)) if isinstance(path, str) and is_temporary(path) else path


def _carried_part(part: FilePart) -> FilePart:
    if isinstance(part.path, str) and is_temporary(part.path):
        return part._replace(path=FileBytes(read_piece(part.path, part.start, part.length), part.start))
    return part
