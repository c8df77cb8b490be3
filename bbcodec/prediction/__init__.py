"""Images by predictions, and probabilities, that learn as they go: nothing is trained or stored (`docs/coding.md` 15).

`predictor`: what is predicted. `streams`: images of 8 and 16 bits in bytes, made of `channels`, `stacks`, `used_values`
and `residuals`, whose decisions have the probabilities of `mixing`. `planes`: images of 16 bits as an 8-bit plane of
`tokens` for learned codecs, and a few bits beside.
"""
