"""Lossless image compression with latent variable models, bits-back ANS and exact arithmetic."""
