"""This code's version: sidecars record it, also where a working directory is newer than the installed package."""

VERSION = "0.1.0"
