"""Training: one loop for every engine.

task.py         what an engine must offer to be trained: the Task protocol
settings.py     what a user may set
features.py     slices -> features of each slice, cached on disk
order.py        which slices are heard when, which are held out, and every random number's seed
scoring.py      how far a reconstruction is from the recording it reconstructs
checkpoints.py  training states on disk that survive a power cut and notice damage
state.py        what the loop remembers, reports and returns
loop.py         the loop itself
bundle.py       the finished voice as a folder

This file imports nothing, so that `rvc.training.settings` can be read without loading torch.
"""
