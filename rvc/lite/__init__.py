"""The built-in engine: a small content encoder and a source-filter synthesizer, trained by this project."""
