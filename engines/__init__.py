"""Engines: find, describe, load and run diffusers pipelines. Knows no HTTP and no OpenAI."""
