"""OpenAI's wire format: pure data and mappings. Starts, loads and routes nothing."""
