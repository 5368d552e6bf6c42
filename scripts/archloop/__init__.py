"""archloop: a language model designs convolutional networks, learns from how they score, and designs again."""

from archloop.allocation import wait_patiently

# Here, for it counts only before torch is imported, whatever imports that first.
wait_patiently()
