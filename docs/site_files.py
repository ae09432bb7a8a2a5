"""The site's files are the repository's, under their paths there: a link leads to the same place on both.

A hook of MkDocs (`mkdocs.yml`). Instead of `docs/` alone it takes every page of the repository, and beside them, as
they are, the files that pages link to: pictures, scripts, the package's code. README is the first page.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("*.md", "docs/**/*.md", "benchmarks/**/*.md", "datasets/*.md", "cluster/*.md")
_LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replaces what MkDocs found in `docs/`; the theme's own files stay."""
    pages = {page for pattern in PAGES for page in ROOT.glob(pattern)}
    linked = {(page.parent / target).resolve() for page in pages for target in _LINK.findall(page.read_text())}
    for found in [one for one in files if one.src_dir == config.docs_dir]:
        files.remove(found)
    for path in [*sorted(pages), *sorted(path for path in linked - pages if path.is_file())]:
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files
