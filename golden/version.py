"""Version: the number of this release, the one place where it stands."""

VERSION = "0.1.0"
