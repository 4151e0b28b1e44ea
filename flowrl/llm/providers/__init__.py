"""One module a provider. Each imports its client library only when a model of that kind is used."""
