"""Samples of 16 bits as errors of a predictor that learns as it goes: an 8-bit plane for codecs, and a few bits beside.

Nothing here is trained or stored: who decodes predicts the same (`docs/coding.md`, section 15).
"""
