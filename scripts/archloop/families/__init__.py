"""The project's own families of networks: templates, and the programs that they give."""
