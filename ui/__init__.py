"""The page and its named endpoints: lays out, wires and translates. All work is done by `pipelines`."""
