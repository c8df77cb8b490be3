"""Image files coded as a whole, such as JPEGs: in the shortest coding that gives every byte back, or as they are."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from bbcodec.archive.write.byte_parts import KeptFile, files_as_bytes, packed_size
from bbcodec.archive.write.coded import CodedFiles, SharedPiece, StoredFile
from bbcodec.archive.write.tasks import FileTask, ImageDescription, PlannedTask
from bbcodec.images.codings import file_codings
from bbcodec.images.codings.base import FileCoding, FileFacts
from bbcodec.input_files import read_file
from bbcodec.options import StorageOptions


def encode_file(task: FileTask) -> CodedFiles:
    """The file of a task, stored."""
    data = read_file(task.path)
    facts = FileFacts(len(data), task.seen.width, task.seen.height)
    image = ImageDescription.of(task.seen)
    coded: dict[str, bytes] = {}
    codings = codings_of(task.seen.format, task.options)
    for coding in codings:
        if coding.installed():
            with suppress(ValueError):  # not a file that it takes
                coded[coding.name] = coding.encode_file(data, facts)
    tried = {name: len(stream) for name, stream in coded.items()}
    shortest = min(tried, key=tried.__getitem__, default="")
    if not shortest or tried[shortest] >= packed_size(data):
        return files_as_bytes([KeptFile(task.entry, data, image, tried)])
    stored = StoredFile(
        entry=task.entry,
        form=codings[0].form,
        size=len(data),
        image=image,
        pieces=(SharedPiece(coded[shortest], shortest),),
        cost=tried[shortest],
        tried=tried | {"original": len(data)},
    )
    return CodedFiles([], [stored])


def codings_of(pillow_format: str, options: StorageOptions) -> list[FileCoding]:
    """The codings of files of a Pillow format that may be used."""
    return [coding for coding in file_codings(pillow_format) if options.jpegxl or not coding.on_request]


def missing_packages(tasks: Iterable[PlannedTask]) -> list[str]:
    """A line on each package with which files of these tasks would be shorter, and that is not installed."""
    files = (task for task in tasks if isinstance(task, FileTask))
    lines = []
    for coding in {coding for task in files for coding in codings_of(task.seen.format, task.options)}:
        if not coding.installed():
            what = f"{coding.form.upper()} files would be shorter with the package {coding.install}"
            lines.append(f"{what}: pip install {coding.install}")
    return sorted(lines)
