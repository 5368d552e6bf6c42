"""archloop: a language model designs networks, learns from how they score, and designs again."""

from archloop.allocation import wait_patiently
from archloop.python_command import name_the_user

# Here, for it counts only before torch is imported, whatever imports that first.
wait_patiently()
name_the_user()
