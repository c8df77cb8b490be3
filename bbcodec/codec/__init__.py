"""Trained models as codecs: messages, `.bbc` files, known answers, devices."""
