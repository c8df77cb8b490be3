"""Reports: what every byte of an archive is for, and how far it is from the theory."""
