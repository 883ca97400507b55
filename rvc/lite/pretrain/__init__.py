"""From a folder of speech to the shipped weights: labels, features, encoder, base synthesizer, demo voices.

Run `python -m rvc.lite.pretrain --help`; the README's section "Training the built-in models" has the whole
recipe. Nothing here is imported when a voice is trained or used.
"""
