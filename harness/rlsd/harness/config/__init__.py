"""A run's config: its blocks, loading and validation."""

from rlsd.harness.config.agent import AgentConfig
from rlsd.harness.config.blocks import (
    Block,
    ConfigError,
    EnvConfig,
    EvalConfig,
    HindsightConfig,
    LoraConfig,
    ModelConfig,
    RolloutConfig,
    SamplerConfig,
    SftConfig,
    TinyConfig,
)
from rlsd.harness.config.learner import LearnerConfig, LrConfig
from rlsd.harness.config.load import (
    explain,
    import_function,
    load_config,
    of_profile,
    parse_config,
    read_value,
)
from rlsd.harness.config.run import RunConfig

__all__ = [
    "AgentConfig",
    "Block",
    "ConfigError",
    "EnvConfig",
    "EvalConfig",
    "HindsightConfig",
    "LearnerConfig",
    "LoraConfig",
    "LrConfig",
    "ModelConfig",
    "RolloutConfig",
    "RunConfig",
    "SamplerConfig",
    "SftConfig",
    "TinyConfig",
    "explain",
    "import_function",
    "load_config",
    "of_profile",
    "parse_config",
    "read_value",
]
