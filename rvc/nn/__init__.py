"""RVC's networks, one part of the paper's figure per file; they open no file and choose no device."""
