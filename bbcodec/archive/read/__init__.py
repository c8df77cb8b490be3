"""From an archive to files.

`archive`: what users hold, made of the others. `archive_file`: the archive on disk. `tasks`: what is decoded in one go.
`decode`: the work on one task, in any process; `kept_chunks`: what it keeps. `task_runner`: runs tasks, with the codecs
that `codecs` finds. `join`: long entries from their stretches. `restore`: entries verified and written. `array_images`:
images of arrays by number. `listing`: what is told without decoding.
"""
