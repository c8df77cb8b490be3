"""Makes the helpers in this folder importable from every test: pytest puts the folder of a conftest.py on the path."""
