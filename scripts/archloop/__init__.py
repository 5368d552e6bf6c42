"""archloop: a language model designs convolutional networks, learns from how they score, and designs again."""
