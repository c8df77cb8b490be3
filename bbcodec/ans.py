"""rANS stack."""

from __future__ import annotations


class AnsStack:
    """A last-in first-out store of symbols."""
