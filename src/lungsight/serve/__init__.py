"""A PACS node: CTs come in, are diagnosed, and their results go back. It loses nothing it has acknowledged."""
