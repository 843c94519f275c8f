"""What another version of a backend changes: read from its wheel, then shown by running its cell beside the old one."""
