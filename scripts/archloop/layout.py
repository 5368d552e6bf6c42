"""Where everything lies: the repository's own files, and what a run leaves below results/.

The one home of these names. Standard library only.
"""

from pathlib import Path

# The folder that the library lies in, by whatever link it is reached, and the repository above it.
SCRIPTS = Path(__file__).parents[1]
ROOT = SCRIPTS.parent
SCHEMA = ROOT / "config" / "schema.yaml"
PAGE = ROOT / "report"  # templates, styles and data of the report

# What the Snakefile leaves in the results: the run's settings, complete, and how its jobs go out.
SETTINGS_FILE = "settings.json"
REQUESTS_FILE = "requests.json"
# Beside the first output of a job, the file that says how it was made.
PROVENANCE_SUFFIX = ".provenance"
