"""What ties the scripts to Snakemake: options, code digests, provenance, Snakemake's records."""
