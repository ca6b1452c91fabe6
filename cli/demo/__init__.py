"""The bundled demo workflow: four years of Seattle weather, read, summarised and reported by six skills."""
