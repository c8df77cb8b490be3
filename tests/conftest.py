"""What all tests share. pytest puts the folder of a conftest.py on the path: other helpers can be imported too."""

from hypothesis import settings

# Machines are busy at times: a slow example is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
