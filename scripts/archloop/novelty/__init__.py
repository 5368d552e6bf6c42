"""What counts as a copy: shingles of the text, fingerprints of the computed graph, nearest neighbours."""
