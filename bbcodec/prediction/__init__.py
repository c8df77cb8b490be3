"""Images by predictions, and probabilities, that learn as they go: nothing is trained or stored (`docs/coding.md` 15).

`predictor`: what is predicted, which `refinement`, by `least_squares`, makes better for samples of 16 bits. `streams`:
images of 8 and 16 bits in bytes, made of `stacks` and either `channels`, `used_values` and `residuals`, or, if they
have few, `colours` and `indices`; decisions of these have the probabilities of `mixing`, and are coded in `groups` of
rows. `planes`: images of 16 bits as an 8-bit plane of `tokens` for learned codecs, and a few bits beside.
"""
