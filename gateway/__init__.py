"""The gateway: HTTP, routing, life cycle of the models, command line."""
