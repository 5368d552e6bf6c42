"""What transformers' objects are called in signatures.

Any, for their classes differ from model to model, and importing them to name them takes seconds.
"""

from typing import Any, TypeAlias

# A causal language model: transformers' PreTrainedModel, or peft's PeftModel around one.
LanguageModel: TypeAlias = Any
# transformers' PreTrainedTokenizerBase.
Tokenizer: TypeAlias = Any
# transformers' PreTrainedConfig.
ModelConfig: TypeAlias = Any
# transformers' Cache: keys and values of a batch.
KeysAndValues: TypeAlias = Any
