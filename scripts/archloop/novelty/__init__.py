"""What counts as a copy: shingles of text, fingerprints of computed graphs, nearest neighbours."""
