"""Reports: the judgements of a gate as texts for people and for other programs. Data in, text out."""
