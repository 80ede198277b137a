"""OpenRouter behind the upstream port: SSE decoder, classification, keys, models."""
