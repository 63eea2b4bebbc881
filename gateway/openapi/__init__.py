"""The OpenAPI documents: one of this server, and one of each model with exactly its own parameters."""

from gateway.openapi.document import server_document
from gateway.openapi.model_document import model_document

__all__ = ["model_document", "server_document"]
